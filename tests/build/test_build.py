"""`python -m ossctl.build`: the flags of each compiler, the cache of wheels, and errors."""

import os
import platform
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from ossctl.build import REQUIREMENT, VERSION, command_line
from ossctl.build.compiler import find_compiler
from ossctl.build.errors import BuildError
from ossctl.build.patches import PATCHES
from ossctl.build.recipe import BACKENDS, Recipe, make_recipe, processor
from ossctl.build.wheels import failure_summary, find_build

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(REQUIREMENT, ("cpu",), "g++ 12", (), "-DGGML_RPC=ON", "x86_64 | a CPU | avx2")

needs_posix = pytest.mark.skipif(os.name != "posix", reason="the compilers here are shell scripts")


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path where a test writes its fake compiler."""
    path = tmp_path / "c++"
    monkeypatch.setenv("CXX", str(path))
    return path


COMPILER = r"""#!/bin/sh
case "$*" in *--version) echo "c++ (test) 1.0"; exit;; esac
for out; do :; done
make() { printf "#!/bin/sh\nexit $1\n" > "$out"; chmod +x "$out"; }
"""


def write_compiler(path: Path, script: str) -> None:
    """Write a compiler that prints its version and otherwise runs `script`; `$out` is the output file."""
    path.write_text(COMPILER + script)
    path.chmod(0o755)


def test_a_command_is_shown_as_a_shell_of_this_system_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [r"C:\Program Files\python.exe", "-m", "x"]
    assert command_line(words) == r"'C:\Program Files\python.exe' -m x"
    monkeypatch.setattr(sys, "platform", "win32")
    assert command_line(words) == r'"C:\Program Files\python.exe" -m x'


def test_the_release_is_the_one_that_the_package_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    major, minor, patch = map(int, VERSION.split("."))
    assert f"llama-cpp-python>={VERSION},<{major}.{minor}.{patch + 1}" in project["dependencies"]


@needs_posix
def test_the_compiler_of_this_machine_works_with_the_flags_found_for_it() -> None:
    found = find_compiler()
    assert found.version
    native = platform.machine() == "x86_64" and "amx_tile" in processor().split()
    assert native or not found.flags  # nothing but AMX needs any


@needs_posix
@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("make 0", ()),
        ('case "$*" in *-fno-dse*) make 0;; *) make 3;; esac', ("-fno-tree-dse", "-fno-dse")),
        (
            'case "$*" in *-fno-dse*) echo error >&2; exit 1;; *-mno-amx*) make 0;; *) make 132;; esac',
            ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16"),
        ),
    ],
)
def test_flags_are_added_only_if_the_code_is_wrong_without_them(
    compiler: Path, script: str, flags: tuple[str, ...]
) -> None:
    write_compiler(compiler, script)
    found = find_compiler()
    assert (found.version, found.flags) == ("c++ (test) 1.0", flags)


@needs_posix
def test_the_error_for_an_old_compiler_names_it_and_its_message(compiler: Path) -> None:
    write_compiler(compiler, "echo 'c++: error: unrecognized option -std=c++17' >&2; exit 1")
    with pytest.raises(BuildError, match=r"c\+\+ \(test\) 1.0 cannot compile .* unrecognized option"):
        find_compiler()


@needs_posix
def test_without_a_compiler_the_hint_says_how_to_install_one(compiler: Path) -> None:
    with pytest.raises(BuildError) as caught:
        find_compiler()
    assert caught.value.message == f"CXX={compiler} not found; it is needed to compile llama.cpp"
    assert "apt install g++" in caught.value.hint


def test_a_backend_whose_tool_is_missing_fails_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("cuda", "vulkan", "rocm"):
        with pytest.raises(BuildError, match=rf"{BACKENDS[name].tool} not found; a {name} build needs it"):
            make_recipe([name])


def test_every_input_of_a_build_changes_its_key() -> None:
    others = [
        replace(RECIPE, backends=("cuda",)),
        replace(RECIPE, compiler="g++ 13"),
        replace(RECIPE, flags=("-fno-dse",)),
        replace(RECIPE, facts=("release 13.0",)),
        replace(RECIPE, variables=("CXXFLAGS=-O2",)),
        replace(RECIPE, patches=("a.cpp: 1",)),
        replace(RECIPE, cmake_args="-DGGML_CUDA=ON"),
        replace(RECIPE, processor="x86_64 | another CPU | avx"),
    ]
    assert len({recipe.key for recipe in [RECIPE, *others]}) == 9
    assert replace(RECIPE).key == RECIPE.key


def test_a_source_that_reads_otherwise_is_not_changed(tmp_path: Path) -> None:
    patch, *_ = PATCHES
    with pytest.raises(BuildError, match=r"sgemm\.cpp cannot be changed as planned"):
        patch.apply(tmp_path)


def test_the_processor_is_its_name_and_instruction_sets(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Some CPU\ncpu MHz\t\t: 2100\nflags\t\t: fpu avx2 amx_int8\n\n"
        "processor\t: 1\nmodel name\t: Some CPU\nflags\t\t: fpu avx2\n"
    )
    assert processor(tmp_path) == f"{platform.machine()} | Some CPU | fpu avx2 amx_int8"
    assert processor(tmp_path / "missing")


def test_the_summary_of_a_failure_is_the_line_of_the_tool_that_failed() -> None:
    output = (
        "  Building wheel: started\n  error: subprocess-exited-with-error\n  [12/90] Building CXX\n"
        "  /tmp/x/ggml-vulkan.cpp:9:10: fatal error: vulkan/vulkan.hpp: No such file or directory\n"
        "ERROR: Failed building wheel for llama_cpp_python\n"
    )
    assert failure_summary(output).endswith("fatal error: vulkan/vulkan.hpp: No such file or directory")
    pip = "ERROR: No matching distribution found\n"
    assert failure_summary(pip).endswith("No matching distribution found")
    cmake = (
        "  CMake Error in ggml-cuda/CMakeLists.txt:\n    no GPU was detected.\n\n\nERROR: Failed to build\n"
    )
    assert failure_summary(cmake).endswith("CMake Error in ggml-cuda/CMakeLists.txt: no GPU was detected.")
    assert failure_summary("") == "the build of llama.cpp failed"


BACKEND = """
import os, zipfile

def build_wheel(folder, *_):
    name = "llama_cpp_python-VERSION-py3-none-any.whl"
    info = "llama_cpp_python-VERSION.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("llama_cpp/__init__.py", "")
        with open("PATCHED") as patched:
            wheel.writestr("llama_cpp/lib/patched", patched.read())
        flags = " ".join(os.environ[name] for name in ("CMAKE_ARGS", "CFLAGS", "CXXFLAGS"))
        wheel.writestr("llama_cpp/lib/libggml-cpu.so", flags)
        facts = ["Metadata-Version: 2.1", "Name: llama_cpp_python", "Version: VERSION"]
        wheel.writestr(info + "METADATA", "\\\\n".join(facts))
        facts = ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"]
        wheel.writestr(info + "WHEEL", "\\\\n".join(facts))
        wheel.writestr(info + "RECORD", "")
    return name
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with a stub source distribution of llama-cpp-python for pip's --find-links."""
    folder = tmp_path / f"llama_cpp_python-{VERSION}"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        f'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "llama_cpp_python"\nversion = "{VERSION}"\n'
    )
    backend = BACKEND.replace("VERSION", VERSION).replace("PATCHED", PATCHES[0].path)
    (folder / "backend.py").write_text(backend.replace("\\\\n", "\\n"))
    (folder / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {VERSION}\n")
    for patch in PATCHES:
        (folder / patch.path).parent.mkdir(parents=True)
        (folder / patch.path).write_text(patch.before)
    (tmp_path / "sources").mkdir()
    with tarfile.open(tmp_path / "sources" / f"{folder.name}.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    return tmp_path / "sources"


@needs_posix
def test_the_installed_build_is_the_requested_one(
    sources: Path, compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_compiler(compiler, 'case "$*" in *-fno-dse*) make 0;; *) make 3;; esac')
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path / "home"))
    library = next((tmp_path / "venv" / "lib").glob("python*/site-packages")) / "llama_cpp/lib/libggml-cpu.so"

    def build(*backends: str, **variables: str) -> str:
        done = subprocess.run(
            [python, "-m", "ossctl.build", *backends],
            cwd=ROOT, check=False, capture_output=True, text=True,
            env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(sources), **variables},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "with c++ (test) 1.0 -fno-tree-dse -fno-dse: this takes a few minutes" in build("cpu")
    first = library.read_text()
    assert "-DGGML_RPC=ON" in first
    assert first.count("-fno-tree-dse -fno-dse") == 2  # in C and in C++
    assert (library.parent / "patched").read_text() == PATCHES[0].after
    assert "using the cached wheel" in build("cpu")
    build("metal", CMAKE_ARGS="-DGGML_BLAS=ON", CXXFLAGS="-O2")  # pip's own cache would return the first one
    second = library.read_text()
    assert "-DGGML_METAL=ON -DGGML_BLAS=ON" in second
    assert second.endswith("-fno-tree-dse -fno-dse -O2")
    record = find_build(library)
    assert record is not None
    assert (record.recipe.backends, record.recipe.compiler) == (("metal",), "c++ (test) 1.0")
    build("metal", CMAKE_ARGS="-DGGML_BLAS=ON", CXXFLAGS="-O1")  # only a variable has changed
    assert library.read_text().endswith("-fno-tree-dse -fno-dse -O1")
    build("cpu")
    assert library.read_text() == first
    library.write_text("from elsewhere")
    assert find_build(library) is None


@needs_posix
def test_a_failed_build_prints_two_lines_and_keeps_the_log(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_compiler(compiler, "make 0")
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "ossctl.build"],
        cwd=ROOT, check=False, capture_output=True, text=True,
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    message, hint = done.stderr.splitlines()
    assert message.startswith("ossctl.build: the build of llama.cpp failed: ERROR: ")
    assert hint == f"The full log is in {tmp_path / 'cache' / 'wheels' / 'build.log'}"
    assert "llama-cpp-python" in (tmp_path / "cache" / "wheels" / "build.log").read_text()


@needs_posix
def test_cxx_can_include_options_and_a_launcher(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_compiler(compiler, 'case "$*" in *-m32*) make 0;; *) exit 1;; esac')
    launcher = tmp_path / "launch"
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("CXX", f"{launcher} {compiler} -m32")
    found = find_compiler()
    assert found.version == f"c++ (test) 1.0 {compiler} -m32"
    assert found.flags == ()


@needs_posix
def test_a_cache_that_is_not_writable_is_an_error_of_two_lines(compiler: Path, tmp_path: Path) -> None:
    write_compiler(compiler, "make 0")
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "ossctl.build"],
        cwd=ROOT, check=False, capture_output=True, text=True,
        env={**os.environ, "OSSCTL_HOME": str(tmp_path / "file")},
    )  # fmt: skip
    assert done.returncode == 1
    message, hint = done.stderr.splitlines()
    assert message.startswith("ossctl.build: ")
    assert "Not a directory" in message
    assert hint == "Set OSSCTL_HOME to keep wheels in another folder."


def test_an_unknown_backend_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ossctl.build", "cude"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "unknown backend cude; choose from cpu, cuda, vulkan, rocm, metal" in done.stderr
