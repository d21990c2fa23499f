"""JupyterHub's settings for a class; `mergelab hub` starts it with them.

Accounts are those of the machine. Members of the instructors' group get the course's clone, its
gradebook and the seed of its hidden cases; everybody else gets none of the three. Whatever is set
here can be set otherwise on the command line of `mergelab hub`.
"""

import grp
import os
import pwd
import sys
from pathlib import Path
from typing import Any

from traitlets.config import Config

from autograder.courses import COURSE_VARIABLE, ROOT_VARIABLE, SEED_VARIABLE
from autograder.gradebook.database import GRADEBOOK_VARIABLE
from autograder.hub.command import INSTRUCTORS_VARIABLE, find_proxy
from autograder.hub.shared import Shared
from autograder.hub.user_server import SHARED_VARIABLE

# JupyterHub provides `c` when it reads this file as a configuration.
c = globals().get("c", Config())

shared = Shared(Path(os.environ[SHARED_VARIABLE]))
FOR_INSTRUCTORS = {
    COURSE_VARIABLE: str(shared.course),
    **{
        name: os.environ[name]
        for name in (ROOT_VARIABLE, GRADEBOOK_VARIABLE, SEED_VARIABLE)
        if os.environ.get(name)
    },
}


def is_instructor(name: str) -> bool:
    """Whether an account belongs to the instructors' group; asked anew at each start of a server.

    Everybody's own group counts, too, as it does for the folders.
    """
    account = pwd.getpwnam(name)
    group = grp.getgrnam(os.environ[INSTRUCTORS_VARIABLE]).gr_gid
    return group in os.getgrouplist(name, account.pw_gid)


def give_environment(spawner: Any) -> None:
    """Set what one person's server is to know."""
    own = FOR_INSTRUCTORS if is_instructor(spawner.user.name) else {}
    spawner.environment = {SHARED_VARIABLE: str(shared.folder), **own}


c.JupyterHub.db_url = f"sqlite:///{shared.hub / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(shared.hub / "cookie_secret")
c.ConfigurableHTTPProxy.command = [find_proxy()]
c.ConfigurableHTTPProxy.pid_file = str(shared.hub / "proxy.pid")

# Who may log in is decided by the machine's accounts: whoever has a password.
c.JupyterHub.authenticator_class = "pam"
c.Authenticator.allow_all = True
c.Authenticator.blocked_users = {"root"}

c.Spawner.cmd = [sys.executable, "-m", "autograder.hub.user_server"]
c.Spawner.pre_spawn_hook = give_environment
# The first start imports much, and a class comes all at once.
c.Spawner.start_timeout = 180
c.Spawner.http_timeout = 180
