"""Finds and gets source packages, as they are: nothing of what comes is run or unpacked."""

import base64
import hashlib
import html.parser
import json
import netrc
import os
import ssl
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
SECONDS = 60
PAGE_BYTES_MAX = 64 << 20


def context():
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if os.environ.get(name):
            return ssl.create_default_context(cafile=os.environ[name])
    made = ssl.create_default_context()
    if not made.get_ca_certs():
        try:
            from pip._vendor import certifi

            made.load_verify_locations(certifi.where())
        except ImportError:
            pass
    return made


def opened(url, accept="*/*"):
    parts = urllib.parse.urlsplit(url)
    headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "bulkhead"}
    login = None
    if "@" in parts.netloc:
        login = ":".join(urllib.parse.unquote(part) for part in parts.netloc.rpartition("@")[0].split(":", 1))
    else:
        try:
            known = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname or "")
            login = f"{known[0]}:{known[2]}" if known else None
        except (OSError, netrc.NetrcParseError):
            pass
    if login is not None:
        login = login if ":" in login else login + ":"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    url = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    request = urllib.request.Request(url, headers=headers)
    if login is not None:
        # What is sent on to another host goes without it.
        request.remove_header("Authorization")
        request.add_unredirected_header("Authorization", headers["Authorization"])
    return urllib.request.urlopen(request, timeout=SECONDS, context=context() if parts.scheme == "https" else None)


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag == "a" and dict(attributes).get("href"):
            self.found.append(dict(attributes))


def with_login(page, url):
    """The address of a file, with the credentials of its page where it lies on the same host."""
    page, parts = urllib.parse.urlsplit(page), urllib.parse.urlsplit(url)
    if "@" in page.netloc and parts.netloc == page.netloc.rpartition("@")[2] and parts.scheme == page.scheme:
        url = urllib.parse.urlunsplit(parts._replace(netloc=page.netloc))
    return url


def entry(page, href, sha256=None, python=None, yanked=False):
    login_free = urllib.parse.urlsplit(page)
    login_free = urllib.parse.urlunsplit(login_free._replace(netloc=login_free.netloc.rpartition("@")[2]))
    url, _, fragment = urllib.parse.urljoin(login_free, href).partition("#")
    if sha256 is None and fragment.startswith("sha256="):
        sha256 = fragment[len("sha256=") :].partition("&")[0]
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    return {"file": name, "url": with_login(page, url), "sha256": sha256, "python": python, "yanked": yanked}


def page_links(page):
    try:
        with opened(page, ACCEPT) as answer:
            text = answer.read(PAGE_BYTES_MAX)
            kind = answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        if error.code in (404, 403, 410):
            return []
        raise
    if kind.endswith("+json"):
        files = json.loads(text)["files"]
        return [
            entry(
                page,
                file["url"],
                file.get("hashes", {}).get("sha256"),
                file.get("requires-python"),
                bool(file.get("yanked")),
            )
            for file in files
        ]
    links = Links()
    links.feed(text.decode(errors="replace"))
    return [
        entry(page, link["href"], None, link.get("data-requires-python"), "data-yanked" in link) for link in links.found
    ]


def find(name, indexes, directories):
    found = []
    for place in directories:
        path = urllib.parse.unquote(place[len("file://") :]) if place.startswith("file://") else place
        if "://" in path:
            found += page_links(path)
        elif os.path.isdir(path):
            for file in sorted(os.listdir(path)):
                found.append(entry("file://" + urllib.parse.quote(path) + "/", urllib.parse.quote(file)))
    for index in indexes:
        found += page_links(f"{index.rstrip('/')}/{name}/")
    return [link for link in found if link["file"].endswith((".tar.gz", ".zip"))]


def get(url, revision, to, bytes_max):
    """Gets a file, or packs a directory; the hash of a file."""
    if url.startswith("git+"):
        return clone(url[len("git+") :], revision, to)
    if url.startswith("file://"):
        path = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
        if os.path.isdir(path):
            return {"sha256": None, "commit": pack(path, to)}
    digest, size = hashlib.sha256(), 0
    with opened(url) as answer, open(to, "wb") as file:
        while block := answer.read(1 << 16):
            size += len(block)
            if size > bytes_max:
                raise SystemExit(f"the source package has more than {bytes_max} bytes")
            digest.update(block)
            file.write(block)
    return {"sha256": digest.hexdigest(), "commit": None}


def clone(url, revision, to):
    parts = urllib.parse.urlsplit(url)
    path, _, named = parts.path.rpartition("@") if "@" in parts.path else (parts.path, "", "HEAD")
    revision = revision or named
    url = urllib.parse.urlunsplit(parts._replace(path=path, fragment=""))
    directory = os.path.join(os.path.dirname(os.path.dirname(to)), "clone")
    os.environ.update(GIT_ALLOW_PROTOCOL="https:http:ssh:git:file", GIT_TERMINAL_PROMPT="0")
    git = ["git", "-c", "core.hooksPath=/dev/null"]
    subprocess.run([*git, "clone", "--quiet", "--no-checkout", "--", url, directory], check=True)
    subprocess.run([*git, "-C", directory, "checkout", "--quiet", "--detach", revision], check=True)
    # The address may hold a password.
    subprocess.run([*git, "-C", directory, "remote", "remove", "origin"], check=True)
    commit = subprocess.run([*git, "-C", directory, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    for log in ("FETCH_HEAD", "logs"):
        subprocess.run(["rm", "-rf", os.path.join(directory, ".git", log)], check=True)
    pack(directory, to)
    return {"sha256": None, "commit": commit.stdout.strip()}


def pack(directory, to):
    with tarfile.open(to, "w:gz") as archive:
        archive.add(directory, "source")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        order = json.load(file)
    try:
        answer = find(**order["find"]) if "find" in order else get(**order["get"])
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(answer, file)


main()
