"""Devices that offer a POSIX shell, however commands travel there: what ssh and adb have in common.

On the device everything lies in one folder: `files/` holds what was sent, named by its sha256, so that nothing is sent
twice; `work/` holds a folder for each run; `runtimes/` what `edgevqa device setup` brought. Scripts are constants, and
what varies are their arguments, which `remote_command` alone quotes. What a script has to say it says in lines that
begin with a mark, for a login may print anything before.
"""

from __future__ import annotations

import abc
import contextlib
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevqa.devices import quiet, waiting
from edgevqa.devices.base import TEMPORARY_PREFIX, Completed, FetchedFolder, check_files, remove_abandoned
from edgevqa.devices.local import kill_group, tail
from edgevqa.devices.patience import Patience
from edgevqa.errors import DeviceError, DeviceLost, InputError
from edgevqa.storage import sha256_file

BEGIN, DONE, FILE = "EDGEVQA-BEGIN ", "EDGEVQA-DONE ", "EDGEVQA-FILE "
LACKS, DATA = "EDGEVQA-LACKS ", "EDGEVQA-DATA\n"
CONTROL_TIMEOUT_S = 120.0
FETCH_TIMEOUT_S = 600.0
LEAST_BYTES_PER_S = 50_000  # a slower line is taken for a broken one
GUARD_ALLOWANCE_S = 30.0
MOST_OUTPUT_BYTES = 64_000_000  # no more is taken from a device that may be broken or hostile
MOST_FETCHED_BYTES = 1_000_000_000
MOST_SAID_BEFORE = 1 << 16  # bytes that a login prints before the content of a file
ENVIRONMENT = ("ORT_DISABLE_TELEMETRY=1", "PYTHONHASHSEED=0")

# FOLDER SHA256...: make the folders, remove what killed runs left more than a day ago, name the files that lack. A
# clock that was set meanwhile makes anything look old, so that what still runs stays, too.
PREPARE = """
umask 077
mkdir -p "$1/files" "$1/work" && cd "$1" && [ -w files ] && [ -w work ] || exit 1
shift
find work files -mindepth 1 -maxdepth 1 -mtime +1 '(' -path 'work/*' -o -name '.part-*' ')' | while read -r old; do
  if [ -f "${old%.pid}.pid" ] && read -r child < "${old%.pid}.pid" && kill -s 0 -- "$child" 2> /dev/null; then
    continue
  fi
  rm -rf "./$old"
done
for sum; do
  if [ -f "files/$sum" ]; then have=$(sha256sum < "files/$sum"); else have=; fi
  [ "${have%% *}" = "$sum" ] || echo "EDGEVQA-LACKS $sum"
done
"""

# FOLDER SHA256 PART: take the file PART, which has arrived, if it is whole; it may be a program
ACCEPT = """
cd "$1/files" || exit 1
have=$(sha256sum < "$3")
if [ "${have%% *}" != "$2" ]; then rm -f "$3"; echo 'a file arrived damaged' >&2; exit 1; fi
chmod 700 "$3" && mv -f "$3" "$2"
"""

# FOLDER SHA256 PART: the same with what comes in
RECEIVE = 'cat > "$1/files/$3" || { rm -f "$1/files/$3"; exit 1; }' + ACCEPT

# FOLDER RUN SECONDS N (SHA256 NAME)*N M WANTED*M PROGRAM...: run a program in a fresh folder. It gets a session of its
# own, which is killed when this side of the connection ends, when the seconds are over, and when the program has ended.
RUN = """
mkdir -p "$1/work/$2" && cd "$1/work/$2" || exit 1
run=$2 limit=$3 count=$4
shift 4
while [ "$count" -gt 0 ]; do
  ln -s "../../files/$1" "./$2" || exit 1
  shift 2
  count=$((count - 1))
done
count=$1
shift
exec 3<&0
echo "EDGEVQA-BEGIN $run"
( shift "$count"; exec 3<&-; exec setsid "$@" ) < /dev/null &
child=$!
echo "$child" > "../$run.pid"
setsid sh -c 'cat > /dev/null; kill -s KILL -- "$1" "-$1"' sh "$child" <&3 > /dev/null 2>&1 &
watch=$!
setsid sh -c 'sleep "$1"; kill -s KILL -- "$2" "-$2"' sh "$limit" "$child" < /dev/null > /dev/null 2>&1 3<&- &
guard=$!
wait "$child"
code=$?
rm -f "../$run.pid"
# those two may not have their own sessions yet
kill -s KILL -- "-$child" 2> /dev/null
kill -s KILL -- "$watch" "$guard" "-$watch" "-$guard" 2> /dev/null
echo
while [ "$count" -gt 0 ]; do
  if [ -f "./$1" ]; then have=$(sha256sum < "./$1"); echo "EDGEVQA-FILE $count ${have%% *}"; fi
  shift
  count=$((count - 1))
done
echo "EDGEVQA-DONE $run $code"
"""

# FOLDER RUN NAME: the content of a file that a run wrote
FETCH = """
cd "$1/work/$2" && [ -r "./$3" ] && echo EDGEVQA-DATA && cat "./$3"
"""

# FOLDER RUN: end what is left of a run, and remove its folder
REMOVE = """
cd "$1/work" 2> /dev/null || exit 0
if [ -f "$2.pid" ]; then read -r child < "$2.pid"; kill -s KILL -- "$child" "-$child"; fi 2> /dev/null
rm -rf "./$2" "./$2.pid"
"""

# FOLDER: remove all that edgevqa ever brought
CLEAN = """
[ -d "$1/files" ] && [ -d "$1/work" ] || exit 0
rm -rf "$1/files" "$1/work" "$1/runtimes" && rmdir "$1"
"""


def remote_command(script: str, *arguments: str) -> str:
    """A script with its arguments as one line for the shell of a device: the one place where anything is quoted."""
    return shlex.join(["sh", "-c", script.strip(), "edgevqa", *arguments])


@dataclass(frozen=True)
class Said:
    """How a client program on this machine ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


class ShellTransport(abc.ABC):
    """A device with a POSIX shell; a subclass says how a command line gets there, and how errors of the way read."""

    def __init__(self, name: str, folder: str) -> None:
        self.name, self.folder = name, folder
        self.patience = Patience()
        self.sent = 0  # files that the device did not have
        remove_abandoned()

    @abc.abstractmethod
    def connect(self) -> None:
        """Make sure that the device answers; raises DeviceError with what to do otherwise."""

    @abc.abstractmethod
    def client(self, command: str) -> list[str]:
        """The program on this machine, with its arguments, that runs a command line on the device."""

    @abc.abstractmethod
    def lost(self, said: Said) -> str | None:
        """Why a client ended without having run its command, or None if the command itself failed."""

    def send(self, path: Path, sha256: str) -> None:
        """Send a file into `files/`; raises DeviceError unless it arrived whole."""
        part = f".part-{secrets.token_hex(8)}"
        with path.open("rb") as stream:
            timeout = CONTROL_TIMEOUT_S + path.stat().st_size / LEAST_BYTES_PER_S
            said = self.call(remote_command(RECEIVE, self.folder, sha256, part), timeout, stdin=stream.fileno())
        self.check(said, f"cannot send {path.name}")

    def call(
        self,
        command: str,
        timeout_s: float,
        *,
        stdin: int | None = None,
        stdout: Path | None = None,
        most_bytes: int | None = None,
        late: str | None = None,
    ) -> Said:
        """Run a command line on the device.

        Args:
            command: see `remote_command`.
            timeout_s: seconds after which the client is killed.
            stdin: what the command reads; without it its input stays open until it has ended.
            stdout: where its output goes; kept as text otherwise.
            most_bytes: of output, after which the client is killed; MOST_OUTPUT_BYTES without it.
            late: what to say when it did not end in time; without it that means that the device does not answer.

        Raises:
            DeviceLost, DeviceError: it did not end in time, or printed too much; then it was killed.
        """
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, ignore_cleanup_errors=True) as name:
            out, err = stdout or Path(name) / "stdout", Path(name) / "stderr"
            argv = self.client(command)

            most = most_bytes or MOST_OUTPUT_BYTES

            def look() -> None:
                if out.stat().st_size > most:
                    raise DeviceError(f"{self.name} sent over {most / 1e6:.0f} MB where far less was asked for")

            with out.open("wb") as out_stream, err.open("wb") as err_stream:
                try:
                    process = subprocess.Popen(
                        argv,
                        stdin=subprocess.PIPE if stdin is None else stdin,
                        stdout=out_stream,
                        stderr=err_stream,
                        start_new_session=True,
                    )
                except OSError as error:
                    raise DeviceError(f"cannot start {argv[0]}: {error.strerror or error}; install it") from error
                try:
                    waiting.wait(process, timeout_s, look)
                    look()
                except subprocess.TimeoutExpired:
                    if late is not None:
                        raise DeviceError(late) from None
                    raise DeviceLost(f"{self.name} did not answer within {timeout_s:g} s") from None
                finally:
                    kill_group(process)
                    if process.stdin is not None:
                        process.stdin.close()
            return Said(process.returncode, "" if stdout else tail(out), tail(err))

    def check(self, said: Said, doing: str) -> None:
        """Raise DeviceError when a script failed or the connection did."""
        if said.exit_code == 0:
            return
        lost = self.lost(said)
        if lost is not None:
            raise DeviceLost(lost)
        words = last_line(said.stderr) or f"exit code {said.exit_code}"
        advice = ""
        if "No space left" in said.stderr or "quota exceeded" in said.stderr:
            advice = "; make room there, or let `folder` in the profile name another disk"
        elif "Read-only" in said.stderr or "Permission denied" in said.stderr or not said.stderr.strip():
            advice = "; let `folder` in the profile name a folder that can be written"
        raise DeviceError(f"{self.name}: {doing} in {self.folder}: {words}{advice}")

    def provide(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Send the files that the device does not have yet; returns the sha256 of each by its name."""
        with quiet.HERE.noise():
            sums = {name: sha256_file(path) for name, path in files.items()}
        wanted = dict(zip(sums.values(), files.values(), strict=True))
        said = self.call(remote_command(PREPARE, self.folder, *wanted), CONTROL_TIMEOUT_S + len(wanted))
        self.check(said, "cannot prepare")
        for line in said.stdout.splitlines():
            if line.startswith(LACKS) and line[len(LACKS) :] in wanted:
                missing = line[len(LACKS) :]
                with quiet.HERE.noise():
                    self.send(wanted[missing], missing)
                self.sent += 1
        return sums

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        """See `Transport.run`; a program that cannot be started ends with exit code 126 or 127."""
        check_files(files, fetch)
        return self.patience(self.connect, lambda: self._run(argv, files, fetch, timeout_s))

    def _run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        self.connect()
        sums, run = self.provide(files), secrets.token_hex(8)
        arguments = [self.folder, run, str(round(timeout_s + GUARD_ALLOWANCE_S)), str(len(files))]
        for name, sha256 in sums.items():
            arguments += [sha256, name]
        arguments += [str(len(fetch)), *fetch, "env", *ENVIRONMENT, *argv]
        try:
            program = " ".join([Path(argv[0]).name, *argv[1:]])
            late = f"{program} on {self.name} did not end within {timeout_s:g} s and was killed"
            said = self.call(remote_command(RUN, *arguments), timeout_s, late=late)
            stdout, code, found = read_output(said.stdout, run, fetch)
            if code is None:
                self.check(said, "cannot run")
                raise DeviceLost(f"the connection to {self.name} was lost during the run")
            fetched = FetchedFolder()
            paths = {name: self.fetch(run, name, sha256, fetched.path) for name, sha256 in found.items()}
            return Completed(code, stdout, said.stderr, paths, fetched)
        finally:
            with contextlib.suppress(DeviceError), waiting.to_the_end():
                self.call(remote_command(REMOVE, self.folder, run), CONTROL_TIMEOUT_S)

    def fetch(self, run: str, name: str, sha256: str, folder: Path) -> Path:
        """Bring back a file that a run wrote; raises DeviceError unless it arrives whole."""
        raw, path = folder / f".{len(list(folder.iterdir()))}", folder / name
        command = remote_command(FETCH, self.folder, run, name)
        said = self.call(command, FETCH_TIMEOUT_S, stdout=raw, most_bytes=MOST_FETCHED_BYTES)
        self.check(said, f"cannot fetch {name}")
        with raw.open("rb") as source, path.open("wb") as copy:
            start = source.read(MOST_SAID_BEFORE).find(DATA.encode())
            source.seek(start + len(DATA) if start >= 0 else 0)
            shutil.copyfileobj(source, copy)
        raw.unlink()
        if sha256_file(path) != sha256:
            raise DeviceLost(f"{name} came back broken from {self.name}; the connection may have been lost")
        return path

    def clean(self) -> None:
        """Remove all that edgevqa brought there; raises DeviceError when that fails."""
        self.connect()
        self.check(self.call(remote_command(CLEAN, self.folder), CONTROL_TIMEOUT_S), "cannot clean up")


def read_output(stdout: str, run: str, fetch: Sequence[str]) -> tuple[str, int | None, dict[str, str]]:
    """The output of a program in RUN, its exit code (None if the line was cut), the sha256 of the files it wrote."""
    begin, done = f"{BEGIN}{run}\n", f"{DONE}{run} "
    _login, began, after = stdout.partition(begin)
    text, ended, code = (after if began else stdout).rpartition(done)
    if not ended or not code.strip().isdecimal():
        return stdout, None, {}
    lines = text.split("\n")[:-1]
    found: dict[str, str] = {}
    while lines and lines[-1].startswith(FILE):
        number, _, sha256 = lines.pop()[len(FILE) :].partition(" ")
        if number.isdecimal() and 1 <= int(number) <= len(fetch):
            found[fetch[len(fetch) - int(number)]] = sha256
    return "\n".join(lines), int(code), found


def last_line(text: str) -> str:
    """The last line that is not empty, at most 300 characters of it, and none that steers a terminal."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(sign if sign.isprintable() else "?" for sign in lines[-1][:300]) if lines else ""


def no_such_file(path: Path) -> InputError:
    """The error for a file on this machine that a transport needs."""
    return InputError(f"{path} does not exist")
