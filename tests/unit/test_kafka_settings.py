"""KAFKA_*: from nothing to hosted Kafkas with certificates and passwords."""

from pathlib import Path

import pytest

from workers.adapters.kafka import client_config
from workers.settings import KafkaSettings, SettingsError

PEM = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"


def settings(**env: str) -> KafkaSettings:
    found = KafkaSettings.from_env(env)
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["", " ", ","])
def test_without_brokers_there_is_no_kafka(text: str) -> None:
    assert KafkaSettings.from_env({"KAFKA_BROKERS": text}) is None
    assert KafkaSettings.from_env({}) is None


@pytest.mark.parametrize(
    ("text", "brokers", "protocol"),
    [
        ("k:9092", "k:9092", "PLAINTEXT"),
        ("k-1:9092, k-2:9092", "k-1:9092,k-2:9092", "PLAINTEXT"),
        ("kafka://k:9092", "k:9092", "PLAINTEXT"),
        ("kafka+ssl://k-1:9096,kafka+ssl://k-2:9096", "k-1:9096,k-2:9096", "SSL"),
        ("[::1]:9092", "[::1]:9092", "PLAINTEXT"),
    ],
)
def test_brokers_as_platforms_give_them(text: str, brokers: str, protocol: str) -> None:
    found = settings(KAFKA_BROKERS=text)
    assert (found.brokers, found.security_protocol) == (brokers, protocol)


def test_a_password_means_sasl_over_tls() -> None:
    found = settings(
        KAFKA_BROKERS="k:9092", KAFKA_SASL_USERNAME="u", KAFKA_SASL_PASSWORD="secret",
        KAFKA_SASL_MECHANISM="SCRAM-SHA-256",
    )  # fmt: skip
    config = client_config(found)
    assert config["security.protocol"] == "SASL_SSL"
    assert config["sasl.mechanism"] == "SCRAM-SHA-256"
    assert config["sasl.password"] == "secret"
    assert "secret" not in repr(found)
    plain = settings(
        KAFKA_BROKERS="k:9092", KAFKA_SASL_USERNAME="u", KAFKA_SASL_PASSWORD="secret",
        KAFKA_SECURITY_PROTOCOL="sasl_plaintext",
    )  # fmt: skip
    assert (plain.security_protocol, plain.sasl_mechanism) == ("SASL_PLAINTEXT", "PLAIN")


def test_certificates_are_text_or_files(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(PEM)
    one_line = PEM.replace("\n", "\\n")
    for text in (PEM, one_line, str(file)):
        found = settings(KAFKA_BROKERS="k:9092", KAFKA_SSL_CA=text)
        assert (found.ssl_ca, found.security_protocol) == (PEM, "SSL")
    found = settings(
        KAFKA_BROKERS="k:9092", KAFKA_TRUSTED_CERT=PEM, KAFKA_CLIENT_CERT=PEM,
        KAFKA_CLIENT_CERT_KEY="-----BEGIN PRIVATE KEY-----", KAFKA_PREFIX="tenant-1.",
        KAFKA_SSL_CHECK_HOSTNAME="false",
    )  # fmt: skip
    config = client_config(found)
    assert config["ssl.certificate.pem"] == config["ssl.ca.pem"] == PEM
    assert config["ssl.endpoint.identification.algorithm"] == "none"
    assert found.topic_prefix == "tenant-1."
    assert "PRIVATE" not in repr(found)


def test_what_is_not_set_is_left_to_the_library() -> None:
    config = client_config(settings(KAFKA_BROKERS="k:9092"))
    assert not any(name.startswith(("sasl", "ssl")) for name in config)


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        ({"KAFKA_BROKERS": "k"}, "KAFKA_BROKERS"),
        ({"KAFKA_BROKERS": "k:port"}, "KAFKA_BROKERS"),
        ({"KAFKA_BROKERS": "k:70000"}, "KAFKA_BROKERS"),
        ({"KAFKA_SASL_USERNAME": "u"}, "KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_USERNAME"),
        ({"KAFKA_SECURITY_PROTOCOL": "tls"}, "KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p", "KAFKA_SASL_MECHANISM": "md5"},
         "KAFKA_SASL_MECHANISM"),
        ({"KAFKA_SSL_CERT": PEM}, "KAFKA_SSL_KEY"),
        ({"KAFKA_SSL_CA": "/no/such/file"}, "KAFKA_SSL_CA"),
        ({"KAFKA_TOPIC_PREFIX": "a b"}, "KAFKA_TOPIC_PREFIX"),
        ({"KAFKA_PARTITIONS": "0"}, "KAFKA_PARTITIONS"),
        ({"KAFKA_REPLICATION_FACTOR": "x"}, "KAFKA_REPLICATION_FACTOR"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(env: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        KafkaSettings.from_env({"KAFKA_BROKERS": "k:9092", **env})
