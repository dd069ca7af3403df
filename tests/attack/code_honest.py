"""Right programs that a careless sandbox loses. FUNCTIONS solve `answer(n) == n * 2`; PROGRAMS print the double of each input line."""

from __future__ import annotations

FUNCTIONS = {
    "plain": "def answer(n): return n * 2",
    "a lambda": "answer = lambda n: n * 2",
    "a callable object": "class Double:\n    def __call__(self, n): return n * 2\nanswer = Double()",
    "a class called Solution": "class Solution:\n    def answer(self, n): return n * 2\nanswer = Solution().answer",
    "prints while it works": "def answer(n):\n    print('debug', n)\n    print('x' * 100000)\n    return n * 2",
    "writes to standard error": "import sys\ndef answer(n):\n    print('debug', n, file=sys.stderr)\n    return n * 2",
    "a dataclass with postponed annotations": """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Pair:
    left: int
    right: int
def answer(n): return Pair(n, n).left * 2
""",
    "deep recursion": """
import sys
sys.setrecursionlimit(10 ** 6)
def down(k): return 0 if k == 0 else 1 + down(k - 1)
def answer(n): return down(20000) - 20000 + n * 2
""",
    "recursion in a thread with a large stack": """
import sys, threading
sys.setrecursionlimit(10 ** 6)
threading.stack_size(128 * 1024 * 1024)
def answer(n):
    out = []
    def down(k): return 0 if k == 0 else 1 + down(k - 1)
    thread = threading.Thread(target=lambda: out.append(down(20000) - 20000 + n * 2))
    thread.start()
    thread.join()
    return out[0]
""",
    "global state": "seen = {}\ndef answer(n):\n    seen[n] = n * 2\n    return seen[n]",
    "a cache": "from functools import lru_cache\n@lru_cache(None)\ndef answer(n): return n * 2",
    "star imports": "from math import *\nfrom itertools import *\nfrom collections import *\ndef answer(n): return floor(n * 2.0)",
    "asyncio": "import asyncio\nasync def work(n): return n * 2\ndef answer(n): return asyncio.run(work(n))",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
def answer(n):
    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(lambda _: n // 1, range(2)))
""",
    "processes": """
from multiprocessing import Pool
def one(n): return n
def answer(n):
    with Pool(2) as pool:
        return sum(pool.map(one, [n, n]))
""",
    "fork and wait": """
import os
def answer(n):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, str(n * 2).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(reading, 100))
""",
    "a subprocess": """
import subprocess, sys
def answer(n):
    return int(subprocess.run([sys.executable, "-c", f"print({n} * 2)"], capture_output=True, check=True).stdout)
""",
    "files in its folder": """
import os
def answer(n):
    with open("note.txt", "w") as file: file.write(str(n * 2))
    with open("note.txt") as file: value = int(file.read())
    os.remove("note.txt")
    return value
""",
    "temporary files": """
import tempfile
def answer(n):
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write(str(n * 2)); file.seek(0)
        return int(file.read())
""",
    "an alarm": """
import signal
def answer(n):
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    return n * 2
""",
    "refused socket": """
import socket
def answer(n):
    try:
        socket.create_connection(("127.0.0.1", 80), 1)
    except OSError:
        pass
    return n * 2
""",
    "sqlite": "import sqlite3\ndef answer(n): return sqlite3.connect(':memory:').execute('select ? * 2', (n,)).fetchone()[0]",
    "regular expressions and JSON": "import json, re\ndef answer(n): return json.loads(re.sub('x', str(n * 2), '[x]'))[0]",
    "decimals": "from decimal import Decimal\ndef answer(n): return int(Decimal(n) * Decimal('2.0'))",
    "fractions": "from fractions import Fraction\ndef answer(n): return int(Fraction(n, 3) * 6)",
    "exec": "exec('def answer(n): return n * 2')",
    "an int enum": "import enum\ndef answer(n): return enum.IntEnum('E', {'x': n * 2}).x",
    "a float of the same value": "def answer(n): return n * 2.0",
    "windows line ends": "def answer(n):\r\n    return n * 2\r\n",
    "tabs and a form feed": "\x0cdef answer(n):\n\treturn n * 2\n",
    "names in other alphabets": "def удвоить(число): return число * 2\nanswer = удвоить",
    "its own main block": "def answer(n): return n * 2\nif __name__ == '__main__':\n    raise SystemExit(answer(3))",
    "keyword arguments only": "def answer(*args, **kwargs): return args[0] * 2",
    "a docstring with back quotes": 'def answer(n):\n    """Doubles `n`. Use ``answer(2)``."""\n    return n * 2',
    "match and walrus": "def answer(n):\n    match n:\n        case int() if (m := n * 2) or True:\n            return m",
    "a lot of memory": "def answer(n): return len(bytearray(150 << 20)) * 0 + n * 2",
    "garbage collection": "import gc\ndef answer(n):\n    gc.collect()\n    return n * 2",
    "a changed recursion limit and hook": "import sys\nsys.settrace(None); sys.setrecursionlimit(50)\ndef answer(n): return n * 2",
    "local time": "import datetime, time\ndef answer(n): return n * 2 if datetime.datetime.now() and time.localtime() else 0",
    "random": "import random\nrandom.seed(1)\ndef answer(n): return n * 2 + random.randint(1, 6) * 0",
    "its own text": """
import inspect
def answer(n):  # doubles
    return n * 2 if '# doubles' in inspect.getsource(answer) else 0
""",
    "the text of a traceback": """
import traceback
def answer(n):
    try:
        raise ValueError  # told
    except ValueError:
        return n * 2 if '# told' in traceback.format_exc() else 0
""",
    "unusual exception handling": """
def answer(n):
    try:
        raise BaseException
    except BaseException:
        return n * 2
""",
}

PROGRAMS = {
    "input": "try:\n    while True: print(int(input()) * 2)\nexcept EOFError: pass",
    "iterates over stdin": "import sys\nfor line in sys.stdin: print(int(line) * 2)",
    "reads all of stdin": "import sys\nprint(*(int(x) * 2 for x in sys.stdin.read().split()), sep='\\n')",
    "stdin.buffer and stdout.buffer": "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(b'%d\\n' % (int(line) * 2))",
    "open(0)": "for line in open(0): print(int(line) * 2)",
    "os.read and os.write": "import os\nfor x in os.read(0, 1 << 16).split(): os.write(1, b'%d\\n' % (int(x) * 2))",
    "/dev/stdin": "for line in open('/dev/stdin'): print(int(line) * 2)",
    "/dev/stdout": "import sys\nout = open('/dev/stdout', 'w')\nfor line in sys.stdin: out.write(f'{int(line) * 2}\\n')",
    "fileinput": "import fileinput\nfor line in fileinput.input(): print(int(line) * 2)",
    "output in an exit handler": """
import atexit, io, sys
out = io.StringIO()
atexit.register(lambda: sys.__stdout__.write(out.getvalue()))
for line in sys.stdin: out.write(f"{int(line) * 2}\\n")
""",
    "os._exit after a flush": "import os, sys\nfor line in sys.stdin: print(int(line) * 2)\nsys.stdout.flush()\nos._exit(0)",
    "exit()": "import sys\nfor line in sys.stdin: print(int(line) * 2)\nexit()",
    "sys.exit(0) in the middle": "import sys\nfor line in sys.stdin: print(int(line) * 2)\nsys.exit(0)\nprint('never')",
    "its main block": "import sys\ndef main():\n    for line in sys.stdin: print(int(line) * 2)\nif __name__ == '__main__':\n    main()",
    "a thread that main does not join": """
import sys, threading
def work():
    for line in sys.stdin: print(int(line) * 2)
threading.stack_size(64 << 20)
threading.Thread(target=work).start()
""",
    "replaces stdout": """
import io, sys
sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, 'w')))
for line in sys.stdin: print(int(line) * 2)
""",
    "trailing blanks and blank lines": "import sys\nfor line in sys.stdin: print(int(line) * 2, end='  \\r\\n')\nprint(); print()",
    "debug on standard error": "import sys\nfor line in sys.stdin:\n    print('debug', line, file=sys.stderr)\n    print(int(line) * 2)",
    "a dataclass": """
from __future__ import annotations
import sys
from dataclasses import dataclass
@dataclass(frozen=True)
class Number:
    value: int
for line in sys.stdin: print(Number(int(line)).value * 2)
""",
    "reads its own text": """
import inspect, linecache, sys
def double(n):  # doubles
    return n * 2
for line in sys.stdin: print(double(int(line)) if '# doubles' in inspect.getsource(double) + linecache.getline(__file__, 4) else 0)
""",
    "pickles its own class": """
import pickle, sys
class Number:
    def __init__(self, value): self.value = value
for line in sys.stdin: print(pickle.loads(pickle.dumps(Number(int(line) * 2))).value)
""",
    "a child process": """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import sys\\nfor l in sys.stdin: print(int(l) * 2)"], check=True)
""",
    "does not read all of its input": "print(int(input()) * 2)\nprint(int(input()) * 2)\nprint(42)",
}
