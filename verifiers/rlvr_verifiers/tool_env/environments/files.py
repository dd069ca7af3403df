"""`files`: a small file system in memory, with text files in folders.

env_args: {"files": {"/notes/a.txt": "text", "/empty/": ""}}        a path that ends in / is a folder
"""

from __future__ import annotations

from typing import cast

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_env.tools import ToolError, tool
from rlvr_verifiers.types import Task

MAX_CHARS = 100_000
"""Of all files together."""
MAX_PATH = 200


class Files:
    """Folders and text files; paths are absolute, with / between names."""

    in_process = True  # every tool is a few steps on small dictionaries

    def reset(self, task: Task) -> None:
        given: object = task.env_args.get("files", {})
        if not isinstance(given, dict):
            raise VerifierError("environment files: env_args.files has to be an object of path and text")
        files = cast("dict[str, object]", given)
        self._files: dict[str, str] = {}
        self._folders: set[str] = {"/"}
        for path, text in files.items():
            whole = _normal(path)
            if path.endswith("/"):
                self._folders.update({whole, *_parents(whole)})
            else:
                self._folders.update(_parents(whole))
                self._files[whole] = str(text)

    def state(self) -> object:
        return {"files": self._files, "folders": sorted(self._folders)}

    @tool
    def list_folder(self, path: str = "/") -> list[str]:
        """Lists the names in a folder; folders end in /.

        Args:
            path: the folder.
        """
        folder = self._folder(path)
        start = folder if folder == "/" else folder + "/"
        files = [name.removeprefix(start) for name in self._files if name.startswith(start)]
        folders = [name.removeprefix(start) + "/" for name in self._folders if name.startswith(start) and name != folder]
        return sorted(name for name in (*files, *folders) if "/" not in name.removesuffix("/"))

    @tool
    def read_file(self, path: str) -> str:
        """Returns the text of a file.

        Args:
            path: the file.
        """
        return self._files[self._file(path)]

    @tool
    def write_file(self, path: str, text: str) -> str:
        """Writes a file, new or instead of what it held. Its folder has to exist.

        Args:
            path: the file.
            text: its whole new text.
        """
        target = _normal(path)
        if target in self._folders:
            raise ToolError(f"{target} is a folder")
        self._folder(_parents(target)[-1])
        if sum(map(len, self._files.values())) - len(self._files.get(target, "")) + len(text) > MAX_CHARS:
            raise ToolError("the disk is full")
        self._files[target] = text
        return f"wrote {len(text)} characters to {target}"

    @tool
    def append_to_file(self, path: str, text: str) -> str:
        """Adds text at the end of a file.

        Args:
            path: a file that exists.
            text: what is added.
        """
        target = self._file(path)
        return self.write_file(target, self._files[target] + text)

    @tool
    def make_folder(self, path: str) -> str:
        """Makes a folder. The folder it lies in has to exist.

        Args:
            path: a path that does not exist yet.
        """
        target = self._new(path)
        if len(self._folders) >= 1_000:
            raise ToolError("there are too many folders")
        self._folders.add(target)
        return f"made {target}/"

    @tool
    def move(self, source: str, target: str) -> str:
        """Moves or renames a file.

        Args:
            source: a file that exists.
            target: its new path, which does not exist yet; the folder has to.
        """
        old, new = self._file(source), self._new(target)
        self._files[new] = self._files.pop(old)
        return f"moved {old} to {new}"

    @tool
    def copy(self, source: str, target: str) -> str:
        """Copies a file.

        Args:
            source: a file that exists.
            target: a path that does not exist yet; the folder has to.
        """
        new = self._new(target)
        return self.write_file(new, self._files[self._file(source)])

    @tool
    def delete(self, path: str) -> str:
        """Deletes a file, or a folder with nothing in it.

        Args:
            path: the file or folder.
        """
        target = _normal(path)
        if target in self._files:
            del self._files[target]
        elif self.list_folder(target) or target == "/":
            raise ToolError(f"{target} is not empty")
        else:
            self._folders.remove(target)
        return f"deleted {target}"

    @tool
    def find_text(self, text: str) -> list[str]:
        """Returns the paths of all files that hold a text.

        Args:
            text: what to look for, case and all.
        """
        if not text:
            raise ToolError("text is empty")
        return sorted(path for path, content in self._files.items() if text in content)

    def _file(self, path: str) -> str:
        target = _normal(path)
        if target not in self._files:
            raise ToolError(f"there is no file {target}")
        return target

    def _folder(self, path: str) -> str:
        target = _normal(path)
        if target not in self._folders:
            raise ToolError(f"there is no folder {target}")
        return target

    def _new(self, path: str) -> str:
        target = _normal(path)
        if target in self._files or target in self._folders:
            raise ToolError(f"{target} exists already")
        self._folder(_parents(target)[-1])
        return target


def _normal(path: str) -> str:
    names = [name for name in path.split("/") if name]
    if not path.startswith("/") or any(name in (".", "..") for name in names) or len(path) > MAX_PATH:
        raise ToolError(f"{path[:60]!r} is not an absolute path without . and .., of at most {MAX_PATH} characters")
    return "/" + "/".join(names)


def _parents(path: str) -> list[str]:
    """Folders that a path lies in, from the root on."""
    names = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(names[:count]) for count in range(len(names) + 1)]
