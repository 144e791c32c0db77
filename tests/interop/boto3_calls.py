"""boto3's client of AWS's data plane, pointed at two gateways: what it asks is answered, and what is refused it raises as the
exception that its model names. It signs its requests with keys that nobody knows; the certificate says who it is."""

import argparse
import os
import time

import boto3
from botocore.config import Config

# Seconds; for what the other gateway hears of by itself.
PATIENCE = 55


def client(url, certs):
    device = os.path.join(certs, "device-1.pem"), os.path.join(certs, "device-1.key")
    config = Config(client_cert=device, retries={"total_max_attempts": 1}, read_timeout=PATIENCE)
    return boto3.client(
        "iot-data",
        endpoint_url=url,
        region_name="eu-central-1",
        verify=os.path.join(certs, "ca.pem"),
        aws_access_key_id="nobody",
        aws_secret_access_key="knows",
        config=config,
    )


def raises(name, call):
    """The call is refused with this exception of the model."""
    try:
        answer = call()
    except Exception as error:
        assert type(error).__name__ == name, f"{error!r} instead of {name}"
        assert error.response["Error"]["Message"], f"{name} without a message"
        return
    raise AssertionError(f"{answer} instead of {name}")


def eventually(call, missing):
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except missing:
            assert time.monotonic() < until, "it does not come"
            time.sleep(0.02)


def publish(here):
    answer = here.publish(
        topic="boto/full topic",
        qos=1,
        retain=True,
        payload=b"\x00on",
        userProperties=[{"name": "first"}, {"name": "second"}],
        payloadFormatIndicator="UNSPECIFIED_BYTES",
        contentType="text/plain; charset=utf-8",
        responseTopic="answers/here",
        correlationData="AAE=",
        messageExpiry=600,
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200, answer
    # As AWS's pages have it: a text.
    here.publish(topic="boto/text", qos=1, retain=True, userProperties='[{"a":"b"}]', payload="x")
    here.publish(topic="boto/plain")


def retained(there):
    missing = there.exceptions.ResourceNotFoundException
    it = eventually(lambda: there.get_retained_message(topic="boto/text"), missing)
    assert it["userProperties"] == b'[{"a":"b"}]', it
    it = there.get_retained_message(topic="boto/full topic")
    assert (it["topic"], it["payload"], it["qos"]) == ("boto/full topic", b"\x00on", 1), it
    assert it["userProperties"] == b'[{"name":"first"},{"name":"second"}]', it
    pages = there.get_paginator("list_retained_messages").paginate(PaginationConfig={"PageSize": 1})
    topics = [it["topic"] for page in pages for it in page["retainedTopics"]]
    assert topics == ["boto/full topic", "boto/text"], topics


def refusals(here):
    raises("ResourceNotFoundException", lambda: here.get_retained_message(topic="boto/none"))
    raises("InvalidRequestException", lambda: here.publish(topic="boto/#"))
    raises("InvalidRequestException", lambda: here.publish(topic="boto", userProperties=[1]))
    raises("ForbiddenException", lambda: here.publish(topic="$SYS/boto"))
    large = b"x" * 100_000
    raises("RequestEntityTooLargeException", lambda: here.publish(topic="boto", payload=large))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certs", required=True)
    parser.add_argument("urls", nargs=2)
    arguments = parser.parse_args()
    # What the machine is set up for is not what is tried.
    os.environ["NO_PROXY"] = "*"
    here, there = (client(url, arguments.certs) for url in arguments.urls)
    publish(here)
    retained(there)
    refusals(here)


if __name__ == "__main__":
    main()
