"""What the quick commands load before they know what there is to do."""

import subprocess
import sys


def test_progress_and_the_start_page_do_not_load_torch():
    code = "import sys, autograder.progress, autograder.startpage; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
