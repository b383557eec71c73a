"""otel-collector.yaml against the code that it must agree with."""

import re
from typing import Any

import pytest
import yaml
from opentelemetry.semconv import attributes
from opentelemetry.semconv.attributes import (
    client_attributes,
    code_attributes,
    db_attributes,
    error_attributes,
    exception_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)

from deploy.kubernetes import build
from firedrill_kit.telemetry.redaction import ALLOWED, OWN_NAMESPACE
from service.config import Config
from stack.settings import ROOT
from stack.tools.collector import MANIFEST

CONFIG = yaml.safe_load((ROOT / "otel-collector.yaml").read_text())
TRANSFORMS = {
    name: one for name, one in CONFIG["processors"].items() if name.startswith("transform/")
}
CONTEXTS = {
    "trace_statements": {"resource", "scope", "span", "spanevent"},
    "log_statements": {"resource", "scope", "log"},
}
GROUPS = {
    (signal, context): [
        statement
        for group in TRANSFORMS["transform/allow_list"][signal]
        if group["context"] == context
        for statement in group["statements"]
    ]
    for signal, contexts in CONTEXTS.items()
    for context in contexts
}
OTHERS = (
    *(client_attributes, code_attributes, db_attributes, error_attributes, exception_attributes),
    *(http_attributes, network_attributes, server_attributes, url_attributes),
    user_agent_attributes,
)


def kept_keys(context: str) -> re.Pattern[str]:
    """The allow-list of one context of the transform processor, as a pattern."""
    found = [
        match[1]
        for statement in GROUPS["trace_statements", context]
        if (match := re.fullmatch(r'keep_matching_keys\(attributes, "(.*)"\)', statement))
    ]
    assert len(found) == 1
    return re.compile(found[0].replace(r"\\", "\\"))


def is_allowed(name: str) -> bool:
    return name in ALLOWED or name.startswith(OWN_NAMESPACE)


@pytest.mark.parametrize("context", ["span", "spanevent"])
def test_the_collector_allows_what_the_service_allows_and_no_more(context: str) -> None:
    kept = kept_keys(context)
    known = {
        value
        for module in OTHERS
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    near = {f"{name}x" for name in ALLOWED} | {f"x{name}" for name in ALLOWED}
    dotless = {name.replace(".", "x", 1) for name in ALLOWED if "." in name}
    names = ALLOWED | known | near | dotless | {f"{OWN_NAMESPACE}x"}

    assert len(known) > 30, attributes
    assert {name for name in names if kept.search(name)} == set(filter(is_allowed, names))


def test_each_group_of_statements_has_one_context_and_no_context_is_left_out() -> None:
    """Without one, all of them run in the lowest: what stands above an event is not seen without one."""
    for name, transform in TRANSFORMS.items():
        assert transform["error_mode"] == "propagate"
        for signal in transform.keys() - {"error_mode"}:
            assert all(isinstance(group, dict) for group in transform[signal]), name
    assert all(
        any("keep_matching_keys(attributes" in one for one in group) for group in GROUPS.values()
    )


def test_what_has_the_name_of_a_secret_is_said_alike_wherever_it_is_looked_for() -> None:
    """In lines as strings quoted in two ways and as anything else, and in values of attributes."""
    words = "password|passwd|pwd|secret|api[_-]?key|authorization|cookie|private[_-]?key"

    text = (ROOT / "otel-collector.yaml").read_text()

    assert text.count(f"{words}|(?:csrf|refresh|access|id)[_-]?token") == 4
    assert text.count("password|") == 4
    (group,) = [
        one for one in TRANSFORMS["transform/allow_list"]["log_statements"] if "conditions" in one
    ]
    looked_for = re.findall(r'"(\w+)"', " ".join(group["conditions"]))
    for word in (*words.replace("[_-]?", "_").split("|"), "csrf_token"):
        assert any(one in word for one in looked_for), word


def test_the_service_that_marks_its_traces_is_the_one_the_sampling_knows() -> None:
    policies = CONFIG["processors"]["tail_sampling"]["policies"]
    condition = policies[1]["ottl_condition"]["span"][0]

    assert f"${{env:SERVICE_NAME:-{Config.model_fields['service_name'].default}}}" in condition


def test_the_waiting_room_holds_the_longest_request() -> None:
    """15 s are the longest deadline, and its last spans arrive within an export and a retry."""
    wait = CONFIG["processors"]["tail_sampling"]["decision_wait"]

    assert int(re.fullmatch(r"\$\{env:DECISION_WAIT:-(\d+)s\}", wait)[1]) >= 15 + 5  # type: ignore[index]


def test_the_decisions_are_remembered_longer_than_the_traces() -> None:
    """Upstream: much greater than num_traces, so that late spans of a kept trace find its decision."""
    sampling = CONFIG["processors"]["tail_sampling"]

    assert sampling["decision_cache"]["sampled_cache_size"] >= 10 * sampling["num_traces"]


@pytest.mark.parametrize("configuration", [CONFIG, build.agent()], ids=["main", "agent"])
def test_the_builder_makes_all_that_the_configuration_names(configuration: dict[str, Any]) -> None:
    modules = " ".join(
        component["gomod"]
        for kind in ("extensions", "receivers", "processors", "connectors", "exporters")
        for component in yaml.safe_load(MANIFEST.read_text())[kind]
    )
    named = {
        name.partition("/")[0].replace("_", "")
        for kind in ("extensions", "receivers", "processors", "connectors", "exporters")
        for name in configuration.get(kind, {})
    }

    # The module's name is older than the component's.
    named = {"otlpexporter" if name == "otlpgrpc" else name for name in named}
    assert [name for name in sorted(named) if name not in modules] == []


def test_memory_is_limited_first_and_sampling_comes_after_the_metrics_of_spans() -> None:
    pipelines = CONFIG["service"]["pipelines"]

    masking = ["memory_limiter", "transform/allow_list", "redaction"]
    assert pipelines["traces"]["processors"] == [*masking, "transform/names"]
    assert pipelines["logs"]["processors"] == [*masking, "transform/names"]
    assert {"span_metrics", "service_graph"} <= set(pipelines["traces"]["exporters"])
    assert pipelines["traces/sampled"]["processors"] == ["tail_sampling"]
