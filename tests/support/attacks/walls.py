"""Ways out of the sandbox: files, network, other processes, the kernel."""

from attacks import cheat

ENDED = "ended Python itself"
TRY = """
import ctypes, os, socket
LIBC = ctypes.CDLL(None, use_errno=True)
def attempt(*doings):
    done = 0
    for doing in doings:
        try:
            if doing() != -1: done += 1
        except Exception:
            pass
    # An exception tells the test: none of them worked.
    raise (AssertionError if done else ZeroDivisionError)
"""
NONE = "stopped with ZeroDivisionError"

ATTACKS = [
    cheat(
        "network",
        "calls home by TCP, UDP and DNS",
        "def tcp(): socket.create_connection(('127.0.0.1', @PORT@), 1).send(b'x')",
        "def other(): socket.create_connection(('10.0.0.1', 80), 1)",
        "def names(): socket.getaddrinfo('example.org', 80)",
        "def udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))",
        "attempt(tcp, other, names, udp)",
        before=TRY,
        reason=NONE,
    ),
    cheat(
        "local_sockets",
        "sockets that need no network: abstract, by path, of the kernel, of the virtual machine",
        "def abstract(): socket.socket(socket.AF_UNIX).connect('\\0@ABSTRACT@')",
        "def by_path(): socket.socket(socket.AF_UNIX).connect('@SOCKET@')",
        "def machine(): socket.socket(40, socket.SOCK_STREAM).connect((2, 5001))",
        "def raw(): socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "attempt(abstract, by_path, machine, raw)",
        before=TRY,
        reason=NONE,
    ),
    cheat(
        "files_of_the_host",
        "reads and writes the course, the gradebook, the home folder and /tmp",
        "paths = ['@COURSE@', '@GRADEBOOK@', '@SOLUTION@', '@TMP@', '@HOME@', '/etc/passwd']",
        "paths += ['/etc/ssh/ssh_config', '/etc/shadow', '/proc/1/root/etc/passwd', '/dev/mem']",
        "paths += ['/proc/1/cwd/x', '/proc/2/root/x', '/proc/self/root/../../etc/passwd']",
        "doings = [lambda p=p: open(p, 'rb').read(1) for p in paths]",
        "doings += [lambda p=p: open(p, 'ab').write(b'changed') for p in paths]",
        "doings += [lambda p=p: os.unlink(p) for p in paths]",
        "doings += [lambda: open('/site/torch/__init__.py', 'a'), lambda: open('/lib/x', 'w')]",
        "attempt(*doings)",
        before=TRY,
        reason=NONE,
    ),
    cheat(
        "proc",
        "looks into other processes by /proc, and writes to itself and to the kernel there",
        "read = ['environ', 'mem', 'maps', 'fd/3', 'stack', 'auxv']",
        "paths = [f'/proc/{p}/{n}' for p in (1, 2) for n in read]",
        "doings = [lambda p=p: open(p, 'rb').read(1) for p in paths]",
        "doings += [lambda p=p: os.listdir(f'/proc/{p}/fd') + [1] for p in (1, 2)]",
        "doings += [lambda: open('/proc/self/mem', 'r+b').write(b'x')]",
        "doings += [lambda: open('/proc/sys/kernel/core_pattern', 'w').write('|/x')]",
        "doings += [lambda: open('/proc/sysrq-trigger', 'w').write('b')]",
        "doings += [lambda: open('/proc/self/uid_map', 'w').write('0 0 1')]",
        "doings += [lambda: open('/proc/self/oom_score_adj', 'w').write('-1000')]",
        "attempt(*doings)",
        before=TRY,
        reason=NONE,
    ),
    cheat(
        "rights",
        "takes other rights",
        "doings = [lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])]",
        "doings += [lambda: os.chroot('/tmp'), lambda: os.nice(-5)]",
        "doings += [lambda: os.chown('/tmp', 0, 0)]",
        "doings += [lambda: os.mknod('/tmp/d', 0o60600, os.makedev(254, 0))]",
        "import resource",
        "doings += [lambda: resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))]",
        "doings += [lambda: LIBC.ptrace(16, 2, 0, 0), lambda: LIBC.ptrace(16, os.getppid(), 0, 0)]",
        "doings += [lambda: LIBC.unshare(0x10000000), lambda: LIBC.unshare(0x40000000)]",
        "doings += [lambda: LIBC.mount(b'/', b'/tmp', None, 4096, None)]",
        "doings += [lambda: LIBC.umount(b'/proc')]",
        "doings += [lambda: LIBC.setns(0, 0), lambda: LIBC.syscall(321, 0, 0, 0)]",
        "doings += [lambda: LIBC.syscall(425, 8, 0), lambda: LIBC.syscall(310, 2, 0, 0, 0, 0, 0)]",
        "attempt(*doings)",
        before=TRY,
        reason=NONE,
    ),
    cheat(
        "kill_all",
        "kills every process that it may",
        "import os",
        "for number in (1, 2, os.getppid(), -1):",
        "    try: os.kill(number, 9)",
        "    except OSError: pass",
        "os.kill(os.getpid(), 9)",
        reason=ENDED,
    ),
    cheat(
        "stop_all",
        "stops every process that it may, so that nothing answers any more",
        "import os",
        "for number in (1, 2, os.getppid(), -1):",
        "    try: os.kill(number, 19)",
        "    except OSError: pass",
        "os.kill(os.getpid(), 19)",
        reason="did not finish",
    ),
    cheat(
        "another_program",
        "lets a program of its own take its place",
        "import os, sys",
        "open('/tmp/x.py', 'w').write('import time; time.sleep(1000)')",
        "os.execv(sys.executable, [sys.executable, '/tmp/x.py'])",
        reason="On ",
    ),
    cheat(
        "a_shell",
        "starts programs",
        "import subprocess, sys",
        "ran = 0",
        "for words in (['/bin/sh', '-c', 'true'], ['bash'], ['/usr/bin/env'], ['su'], ['bwrap']):",
        "    try: ran += subprocess.run(words).returncode == 0",
        "    except OSError: pass",
        "raise (AssertionError if ran else ZeroDivisionError)",
        reason=NONE,
    ),
    cheat(
        "crash",
        "writes to address 0",
        "import ctypes",
        "ctypes.memset(0, 1, 1)",
        reason=ENDED,
    ),
    cheat("exit", "ends Python", "import os", "os._exit(0)", reason=ENDED),
    cheat("closed", "closes all its files", "import os", "os.closerange(0, 64)", reason=ENDED),
]
