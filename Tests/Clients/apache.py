"""An Apache of a test's own: in a private folder, on free loopback ports, with the modules it names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gatehouse_demo.stack import Process

MODULES = Path("/usr/lib/apache2/modules")
PROGRAM = shutil.which("apache2") or "/usr/sbin/apache2"
BASE = ("mpm_event", "authn_core", "authz_core", "authz_user", "alias", "dir", "headers")


def start(deployment, name: str, port: int, modules: tuple[str, ...], lines: str) -> Process:
    """Starts Apache with these modules and lines of configuration; it ends with the deployment.

    Files under `FOLDER/pages` are its documents; `{folder}` in the lines is that FOLDER.
    """
    folder = deployment.stack.folder / name
    (folder / "pages").mkdir(parents=True)
    for path in (folder, folder / "pages"):
        path.chmod(0o755)
    loaded = "\n".join(
        f"LoadModule {module}_module {MODULES}/mod_{module}.so" for module in (*BASE, *modules))
    # As root, Apache insists on giving it up.
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    (folder / "apache.conf").write_text(f"""
ServerRoot "{folder}"
ServerName localhost
{loaded}
Listen 127.0.0.1:{port}
PidFile "{folder}/apache.pid"
Mutex pthread
ErrorLog "{folder}/error.log"
LogLevel info
DefaultRuntimeDir "{folder}"
DocumentRoot "{folder}/pages"
ServerLimit 1
StartServers 1
ThreadsPerChild 8
MaxRequestWorkers 8
MinSpareThreads 1
MaxSpareThreads 8
{user}
<Directory "{folder}/pages">
    Require all granted
</Directory>
{lines.replace("{folder}", str(folder))}
""")
    process = deployment.stack.process(
        name, [PROGRAM, "-f", str(folder / "apache.conf"), "-DFOREGROUND"], deployment.stack.base_environment(), folder)
    process.start()
    process.await_answer(f"http://127.0.0.1:{port}/", within=20)
    return process
