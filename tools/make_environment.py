"""Makes the virtual environment in which `make` runs, tests and checks everything.

    python3 tools/make_environment.py --check     prints what is wrong with this Python, if anything
    python3 tools/make_environment.py .venv       makes or updates .venv, then marks it as complete

What is needed stands in setup.cfg, which release of it in constraints.txt. RecBole is the one
exception: its own dependency list caps ray at a release that Python 3.12 and later cannot install
and that is large elsewhere, while nothing here needs ray. So RecBole comes without that list, and
setup.cfg names what it really imports.

Standard library only. A Python too old must still be able to read this file far enough to say so:
no annotations, no f-strings.
"""

import os
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
RECBOLE = "recbole==1.2.1"
EXTRAS = ("test", "lint", "hyper", "plot", "export")
COMPLETE = "complete"  # the file inside the environment that says so; the Makefile knows its name


def problem_with_this_python():
    """One line on why the environment cannot be made with this Python, or None."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return "%s is Python %s; 3.11 to 3.13 will do: make PYTHON=python3.12" % (
            sys.executable,
            ".".join(map(str, sys.version_info[:2])),
        )
    try:
        import ensurepip
        import venv

        del ensurepip, venv
    except ImportError as error:
        return (
            "%s has no module '%s': install your system's python3-venv package, or choose another "
            "Python: make PYTHON=python3.12" % (sys.executable, error.name)
        )
    return None


def requirements(path="setup.cfg"):
    """What setup.cfg asks for, extras included, RecBole left out."""
    import configparser  # has another name in Python 2

    config = configparser.ConfigParser(interpolation=None)
    with open(path) as file:
        config.read_file(file)
    texts = [config["options"]["install_requires"]]
    texts += [config["options.extras_require"][extra] for extra in EXTRAS]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(("recbole", "#"))]


def works(python):
    """Whether this environment exists, is of our Python version and has pip."""
    if not os.path.exists(python):
        return False
    version = "import pip, sys; sys.exit(sys.version_info[:2] != %r)" % (sys.version_info[:2],)
    return subprocess.call([python, "-c", version], stderr=subprocess.DEVNULL) == 0


def make(directory):
    complete = os.path.join(directory, COMPLETE)
    python = os.path.join(directory, "bin", "python")
    print("Installing into %s; the first time takes a few minutes." % directory)
    sys.stdout.flush()
    if os.path.exists(complete):
        os.remove(complete)  # until this ends well, the environment counts as broken
    if not works(python):
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", directory])
    # -qq: errors only. Compiled below.
    pip = [python, "-m", "pip", "install", "-qq", "--no-compile", "--disable-pip-version-check"]
    subprocess.check_call(pip + ["--constraint", "constraints.txt"] + requirements())
    subprocess.check_call(pip + ["--no-deps", RECBOLE])
    subprocess.check_call(pip + ["--no-deps", "--no-build-isolation", "--editable", "."])
    # On all cores, where pip would do it on one. What is no Python 3 in a package stays as it is.
    subprocess.call([python, "-m", "compileall", "-qq", "-j", "0", os.path.join(directory, "lib")])
    open(complete, "w").close()


def main(arguments):
    problem = problem_with_this_python()
    if arguments == ["--check"]:
        if problem:
            print(problem)
        return 0
    if problem:
        sys.exit(problem)
    if len(arguments) != 1:
        sys.exit("usage: make_environment.py --check | DIRECTORY")
    try:
        make(arguments[0])
    except subprocess.CalledProcessError as error:
        sys.exit("The environment is not complete; this failed: %s" % " ".join(error.cmd))
    except KeyboardInterrupt:
        sys.exit("Interrupted; the next make continues.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
