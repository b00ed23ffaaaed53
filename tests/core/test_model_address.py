"""Addresses of models on servers: what they mean, what is wrong with them, and that they show no secret."""

from __future__ import annotations

import pytest

from streamserver.core.model_address import ModelAddress, is_model_address
from streamserver.core.secrets import hide


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oip+grpc://gpu:8001/yolox", ModelAddress(host="gpu", port=8001, model="yolox")),
        ("oip+grpc://10.0.0.7:8001/yolox/", ModelAddress(host="10.0.0.7", port=8001, model="yolox")),
        ("OIP+gRPC://gpu:8001/yolox", ModelAddress(host="gpu", port=8001, model="yolox")),
        ("oip+grpcs://[fd00::1]:443/a", ModelAddress(host="fd00::1", port=443, model="a", secure=True)),
        ("oip+grpc://g:1/a/versions/3", ModelAddress(host="g", port=1, model="a", version="3")),
        ("oip+grpc://g:1/a%20b", ModelAddress(host="g", port=1, model="a b")),
        (
            "oip+grpcs://eve:p%40ss@g:1/a",
            ModelAddress(host="g", port=1, model="a", secure=True, user="eve", password="p@ss"),
        ),
        ("oip+grpcs://:t0ken@g:1/a", ModelAddress(host="g", port=1, model="a", secure=True, password="t0ken")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_address_says_where_a_model_is(text: str, expected: ModelAddress) -> None:
    assert is_model_address(text)
    assert ModelAddress.from_text(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("oip+http://gpu:8000/yolox", "the scheme 'oip+http' is none of a model server"),
        ("grpc://gpu:8001/yolox", "the scheme 'grpc' is none"),
        ("oip+grpc:/gpu:8001/yolox", "the scheme 'oip+grpc' is none"),
        ("oip+grpc:///yolox", "the host is missing"),
        ("oip+grpc://gpu/yolox", "the port is missing"),
        ("oip+grpc://gpu:0/yolox", "the port is missing or none"),
        ("oip+grpc://gpu:80010/yolox", "the port is missing or none"),
        ("oip+grpc://gpu:8001", "the name of the model is missing"),
        ("oip+grpc://gpu:8001/", "the name of the model is missing"),
        ("oip+grpc://gpu:8001/v2/models/yolox", "more follows it than its version"),
        ("oip+grpc://gpu:8001/yolox/versions/latest", "more follows it than its version"),
        ("oip+grpc://gpu:8001/yolox?x=1", "more follows it than its version"),
    ],
)
def test_what_cannot_be_meant_so_is_said_with_what_to_write(text: str, problem: str) -> None:
    assert is_model_address(text)
    with pytest.raises(ValueError, match="; write oip\\+grpc://host:port/model") as caught:
        ModelAddress.from_text(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text", ["yolox_nano", "../models/a.onnx", "/opt/oip/a.onnx", "a.bmodel", "C:/x.onnx", "oipa:/x"]
)
def test_names_and_paths_are_no_addresses(text: str) -> None:
    assert not is_model_address(text)


def test_secrets_are_shown_nowhere() -> None:
    address = ModelAddress.from_text("oip+grpcs://eve:s3cr3t-w0rd@gpu:443/yolox/versions/2")
    assert str(address) == "oip+grpcs://gpu:443/yolox/versions/2"
    assert "s3cr3t" not in repr(address)
    assert hide("peer said s3cr3t-w0rd") == "peer said ***"
