"""Who may ask: Host, Origin and token."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.config.serving import ServeOptions
from charrnn.errors import OptionError
from charrnn.server import serving

from .conftest import Running, running


def test_only_names_that_no_stranger_can_point_here_are_answered(server: Running) -> None:
    port = server.port
    ours = ["127.0.0.1", "localhost", "[::1]", "192.168.1.7", socket.gethostname()]
    ours += ["LocalHost", "[::FFFF:127.0.0.1]", socket.gethostname().upper()]
    for name in ours:
        for host in (name, f"{name}:{port}"):
            assert server.ask("/v1/models", headers={"Host": host}).status == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "",
        "a b",
        *("1.2", "2130706433", "0x7f.0.0.1", "127.0.0.1.evil.example", "[::1].evil.example"),
        *("::1", "[::1", "[fe80::1%25eth0]", "127.0.0.1:", "127.0.0.1:x", "localhost@evil.example"),
    ):
        refused = server.ask("/v1/models", headers={"Host": host})
        assert refused.status == 403
        assert "Host" in refused.error
        assert server.ask("/", headers={"Host": host}).status == 403


def test_pages_of_other_servers_may_not_ask(server: Running) -> None:
    own = f"http://127.0.0.1:{server.port}"
    assert server.ask("/v1/completions", {"max_tokens": 1}, {"Origin": own}).status == 200
    others = [f"http://127.0.0.1:{server.port + 1}", f"http://localhost:{server.port}", own + "/x"]
    others += ["null", "http://evil.example", "http://127.0.0.1", f"{own}.evil.example", ""]
    for origin in others:
        assert server.ask("/v1/completions", {"max_tokens": 1}, {"Origin": origin}).status == 403
    for site in ("cross-site", "same-site"):
        assert server.ask("/v1/models", headers={"Sec-Fetch-Site": site}).status == 403
    assert server.ask("/v1/models", headers={"Sec-Fetch-Site": "same-origin"}).status == 200


def test_a_form_of_another_page_cannot_send_json(server: Running) -> None:
    refused = server.ask("/v1/completions", b"{}", {"Content-Type": "text/plain"})
    assert refused.status == 415
    assert refused.error == "send JSON, with the header Content-Type: application/json"


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/v1/models", "/nothing"])
def test_every_answer_keeps_a_browser_strict(server: Running, path: str) -> None:
    headers = server.ask(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


@pytest.fixture(scope="module")
def secret(folder: Path) -> Iterator[Running]:
    with running(folder, Path("runs/first"), host="127.0.0.1", token="s3cret") as found:
        yield found


def test_a_token_is_needed_for_all_but_the_page(secret: Running) -> None:
    assert secret.ask("/").status == 200
    for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
        refused = secret.ask("/v1/models", headers=headers)
        assert refused.status == 401
        assert refused.json["error"]["code"] == "invalid_api_key"
    assert secret.ask("/v1/models", headers={"Authorization": "Bearer s3cret"}).status == 200


def test_a_token_that_is_not_ascii_is_refused_not_a_fault(secret: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", secret.port)
    connection.putrequest("GET", "/v1/models")
    connection.putheader("Authorization", b"Bearer \xe9\xff")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_another_host_needs_a_token_or_that_it_is_said() -> None:
    with pytest.raises(OptionError) as refused:
        ServeOptions(host="0.0.0.0")
    assert "--host 0.0.0.0 can be reached from other machines" in refused.value.message
    assert "--token TOKEN" in refused.value.message
    assert ServeOptions(host="0.0.0.0", no_token=True).token is None
    assert ServeOptions(host="0.0.0.0", token="x").token == "x"
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert ServeOptions(host=host).host == host
    with pytest.raises(OptionError, match="contradict"):
        ServeOptions(token="x", no_token=True)
    for token in ("", "a b", "é", "\n"):
        with pytest.raises(OptionError, match="visible ASCII"):
            ServeOptions(token=token)
    with pytest.raises(OptionError, match="not an address"):
        ServeOptions(host="http://x", no_token=True)


def test_an_address_that_cannot_be_had_is_refused_in_words() -> None:
    taken = serving.listen(ServeOptions(port=0))
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(OptionError, match=f"`port={port}` is taken by another program"):
        serving.listen(ServeOptions(port=port))
    taken.close()
    with pytest.raises(OptionError, match="not an address of this machine"):
        serving.listen(ServeOptions(host="203.0.113.7", no_token=True))


def test_the_address_has_the_token_where_servers_do_not_see_it() -> None:
    options = ServeOptions(port=0, token="t")
    listening = serving.listen(options)
    port = listening.getsockname()[1]
    assert serving.address(listening, options) == f"http://127.0.0.1:{port}/#token=t"
    everywhere = ServeOptions(host="::", port=0, no_token=True)
    assert serving.address(listening, everywhere) == f"http://{socket.gethostname()}:{port}/"
    assert serving.address(listening, ServeOptions(host="::1")) == f"http://[::1]:{port}/"
    listening.close()
