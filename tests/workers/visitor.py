"""Somebody who looks at the page, without a browser."""

from __future__ import annotations

import http.client
import re
import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from tests.patience import PATIENCE, until

FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


def token_of(page: str) -> str:
    """Return what the forms of a page carry."""
    return re.findall(r'name="token" value="([^"]+)"', page)[0]


@dataclass
class Answer:
    status: int
    text: str
    headers: dict[str, str]

    @property
    def links(self) -> set[str]:
        return {link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"]*)"', self.text)}


@dataclass
class Visitor:
    """Somebody with a browser that keeps a cookie."""

    port: int
    context: ssl.SSLContext | None = None
    cookie: str = ""
    cookies: list[str] = field(default_factory=list)

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        made = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self.context)
            if self.context
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        )
        sent = {"Cookie": self.cookie} if self.cookie else {}
        try:
            made.request(method, path, body=body, headers=sent | headers)
            answer = made.getresponse()
            said = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, answer.read().decode(), said)
        finally:
            made.close()

    def log_in(self, password: str, user: str = "strongroom", **more: str) -> Answer:
        form = urlencode({"user": user, "password": password, **more})
        answer = self.ask("/login", "POST", form, **FORM)
        if "set-cookie" in answer.headers:
            self.cookies.append(answer.headers["set-cookie"])
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def do(self, link: str, **said: str) -> str:
        """Ask for something on the page, as a person does; return what it says in the end."""
        action = link.partition("?")[0]
        form = urlencode({**said, "token": token_of(self.ask(link).text)})
        answer = self.ask(action, "POST", form, **FORM)
        assert answer.status == HTTPStatus.SEE_OTHER, answer

        def told() -> str:
            page = self.ask(answer.headers["location"])
            return page.text if "It was asked for" not in page.text else ""

        return until(told, what="an answer on record")

    def walk(self) -> dict[str, str]:
        """Return every page that can be reached by links from the first one."""
        pages: dict[str, str] = {}
        left = {"/"}
        while left:
            path = left.pop()
            answer = self.ask(path)
            assert answer.status == HTTPStatus.OK, (path, answer)
            pages[path] = answer.text
            other = {link for link in answer.links if "still=1" not in link}  # the same page once more
            left |= {link.removesuffix("?") for link in other} - pages.keys() - {"/style.css"}
        return pages
