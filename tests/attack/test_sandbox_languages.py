"""Programs in C++: compiled in one box, run in another, with the same walls and limits as everybody's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlvr_sandbox import Limits, Program, Result, Sandbox, SandboxError, languages

HEAD = "".join(
    f"#include <{name}>\n" for name in ("cstdio", "iostream", "vector", "unistd.h", "sys/socket.h", "sys/ptrace.h")
)
HEAD += "using namespace std;\n"
LIMITS = Limits(wall_s=1.5, cpu_s=5.0, memory_mb=128, processes=8, disk_mb=16, fsize_mb=8)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    if shutil.which("g++", path="/usr/bin:/bin") is None:
        pytest.skip("no g++ on this machine")
    with Sandbox() as one:
        yield one
        assert one.restarts == 0


def run(sandbox: Sandbox, source: str, stdin: bytes = b"") -> Result:
    return sandbox.run_now(Program(source=source, language="cpp", limits=LIMITS), stdin=stdin)


def main(body: str) -> str:
    return f"{HEAD}int main() {{ {body} }}\n"


def test_a_program_is_compiled_once_for_all_inputs(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    source = main('long long a, b; while (cin >> a >> b) cout << a + b << "\\n";')
    assert run(sandbox, source, b"1 2\n3 4\n").stdout == b"3\n7\n"
    monkeypatch.setattr(languages, "compiler", lambda _: pytest.fail("compiled again"))
    assert run(sandbox, source, b"5 6\n").stdout == b"11\n"


def test_exit_status_and_signals_are_the_programs_own(sandbox: Sandbox) -> None:
    assert run(sandbox, main("return 3;")).exit_code == 3
    assert run(sandbox, main("*(volatile int*)0 = 1;")).status == "crash"


@pytest.mark.parametrize("source", ["int main() { return x; }", "", "#error no\n", "int main() { return 0; "])
def test_what_does_not_compile_is_the_programs_failure(sandbox: Sandbox, source: str) -> None:
    result = run(sandbox, source)
    assert result.status == "error"
    assert result.message.startswith("does not compile: ")
    assert len(result.message) > len("does not compile: ")


BOMBS = {
    "endless file": '#include "/dev/zero"\n',
    "templates": "template<int N> struct A { static const int v = A<N-1>::v + A<N-2>::v; };\nint main() { return A<100000>::v; }",
    "a program of a gigabyte": "char big[1 << 30] = {1};\nint main() { return big[5]; }",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_for_the_compiler_costs_only_its_program(
    sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(languages, "COMPILING", Limits(wall_s=5.0, cpu_s=5.0, memory_mb=256, disk_mb=16, stdout_bytes=2**24))
    result = run(sandbox, BOMBS[name])
    assert result.status in ("error", "timeout", "memory", "output_limit", "crash"), result
    assert run(sandbox, main('puts("1");')).stdout == b"1\n"


def test_the_compiler_cannot_read_files_of_the_host(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h"
    secret.write_text("#define SECRET 7\n")
    assert "No such file" in run(sandbox, f'#include "{secret}"\nint main() {{ return SECRET; }}\n').stderr
    assert "root" not in run(sandbox, '#include "/etc/passwd"\n').stderr


def test_the_program_does_not_see_the_compiler(sandbox: Sandbox) -> None:
    body = 'cout << (access("/usr/include/stdio.h", 0) == 0) << (access("/usr/bin/g++", 0) == 0) << (access("/etc/shadow", 4) == 0);'
    assert run(sandbox, main(body)).stdout == b"000"


ATTACKS = {
    "a socket": "return socket(AF_INET, SOCK_STREAM, 0) >= 0;",
    "a Unix socket": "return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;",
    "root": "return setuid(0) == 0 || getuid() == 0;",
    "ptrace": "return ptrace(PTRACE_TRACEME, 0, 0, 0) == 0;",
    "the channel": 'return write(3, "x", 1) == 1;',
    "writing outside": 'return open("/usr/lib/x", O_CREAT | O_WRONLY, 0600) >= 0 || open("/x", O_CREAT | O_WRONLY, 0600) >= 0;',
    "another's process": "return kill(2, 0) == 0;",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_walls_hold(sandbox: Sandbox, name: str) -> None:
    result = run(sandbox, "#include <fcntl.h>\n#include <signal.h>\n" + main(ATTACKS[name]))
    assert (result.status, result.exit_code) == ("ok", 0), result


LIMITED = {
    "a loop": ("for (;;) ;", ("timeout",)),
    "a sleep": ("sleep(100);", ("timeout",)),
    "a fork bomb": ("for (;;) fork();", ("timeout",)),
    "memory": ("vector<char> v; for (;;) v.resize(v.size() + (1 << 20), 1);", ("memory", "crash", "error")),
    "output": ('for (;;) puts("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");', ("output_limit", "timeout")),
    "a file": ('FILE* f = fopen("big", "w"); for (;;) if (fputc(1, f) < 0) return 1;', ("crash", "error")),
}


@pytest.mark.parametrize("name", LIMITED)
def test_limits_hold(sandbox: Sandbox, name: str) -> None:
    body, ends = LIMITED[name]
    assert run(sandbox, main(body)).status in ends
    assert run(sandbox, main('puts("1");')).stdout == b"1\n"


def test_nothing_is_left_for_the_next(sandbox: Sandbox) -> None:
    body = 'bool old = access("left", 0) == 0; fclose(fopen("left", "w")); cout << old;'
    assert [run(sandbox, main(body)).stdout for _ in range(2)] == [b"0", b"0"]


def test_a_function_of_another_language_is_refused() -> None:
    with pytest.raises(ValueError, match="mode stdio"):
        Program(source="", language="cpp", mode="function", entry_point="f")
    with pytest.raises(ValueError, match="language is 'cobol'"):
        Program(source="", language="cobol")


def test_a_missing_compiler_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    with Sandbox() as one, pytest.raises(SandboxError, match="install it"):
        one.run_now(Program(source="int main() {}", language="cpp"))


def test_source_that_is_no_text_is_the_programs_failure(sandbox: Sandbox) -> None:
    assert run(sandbox, "int main() { return 0; } \udcff\x00").status in ("ok", "error")
