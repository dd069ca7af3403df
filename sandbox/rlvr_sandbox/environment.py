"""What the environment says of the sandbox: for commands and verifiers, which nobody hands one.

RLVR_SANDBOX: the backend, or `remote`. RLVR_SANDBOX_PYTHON: the interpreter that programs run in; they see the packages that are installed
for it. RLVR_SANDBOX_IMAGE: the same for `docker`. RLVR_SANDBOX_PRELOAD: modules that are imported once, with commas between them.
"""

from __future__ import annotations

import os
import shutil

from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.launch import Interpreter
from rlvr_sandbox.remote_wire import ADDRESS_VARIABLE

BACKEND, PYTHON, IMAGE, PRELOAD = "RLVR_SANDBOX", "RLVR_SANDBOX_PYTHON", "RLVR_SANDBOX_IMAGE", "RLVR_SANDBOX_PRELOAD"


def settings_from_environment() -> dict[str, str]:
    """What is set of all this, and where the service is: for a record of what programs ran in. No secret is among them."""
    named = {"backend": BACKEND, "python": PYTHON, "image": IMAGE, "preload": PRELOAD, "address": ADDRESS_VARIABLE}
    return {name: os.environ[variable] for name, variable in named.items() if os.environ.get(variable)}


def backend_from_environment() -> str:
    return os.environ.get(BACKEND) or "auto"


def interpreter_from_environment(backend: str) -> Interpreter:
    """For a sandbox on this backend. Raises SandboxError on a setting that cannot be used."""
    python, image = os.environ.get(PYTHON, ""), os.environ.get(IMAGE, "")
    preload = tuple(name.strip() for name in os.environ.get(PRELOAD, "").split(",") if name.strip())
    for name in preload:
        if not all(part.isidentifier() for part in name.split(".")):
            raise SandboxError(
                f"{PRELOAD} has {name!r}, which is no module; give names with commas between them: numpy,pandas"
            )
    if backend == "remote":
        if python or image or preload:
            raise SandboxError(
                f"{PYTHON}, {IMAGE} and {PRELOAD} are for the machine that runs the programs; set them for the service"
            )
        return Interpreter()
    if backend == "docker":
        if python:
            raise SandboxError(f"{PYTHON} is {python!r}, but docker has the Python of its image; set {IMAGE} instead")
        return Interpreter(image=image or Interpreter().image, site_packages=bool(image), preload=preload)
    if image:
        raise SandboxError(f"{IMAGE} is {image!r}, but the backend is {backend}; set {BACKEND}=docker, or {PYTHON} instead")
    if not python:
        return Interpreter(preload=preload)
    found = shutil.which(os.path.expanduser(python))
    if found is None:
        raise SandboxError(f"{PYTHON} is {python!r}, which cannot be run; give the path of a Python 3.11 or later")
    return Interpreter(path=os.path.abspath(found), site_packages=True, preload=preload)
