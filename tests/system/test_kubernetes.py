"""docs/kubernetes.yaml: valid by the schemas of Kubernetes, consistent, and true to the program."""

import re
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from proxycore.runtime.settings import Settings
from tests.support.servers import DOCS, ROOT, VARIABLES, run

MANIFEST = DOCS / "kubernetes.yaml"
VERSIONS = {
    "Secret": "v1",
    "Deployment": "apps/v1",
    "Service": "v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}
DNS, REDIS_PORT = 53, 6379
Objects = dict[tuple[str, str], Any]
Labels = dict[str, str]


def test_kubernetes_accepts_every_object() -> None:
    tool = Path(sys.executable).parent / "kubernetes-validate"
    assert run(tool, "--strict", MANIFEST).count(" passed for resource ") == len(documents())


def documents() -> list[Any]:
    return list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))


@pytest.fixture
def objects() -> Objects:
    """The manifests, by kind and name."""
    found = {(one["kind"], one["metadata"]["name"]): one for one in documents()}
    assert len(found) == len(documents())
    assert {kind: one["apiVersion"] for (kind, _), one in found.items()} == VERSIONS
    return found


def pods_of(objects: Objects) -> dict[str, Any]:
    """The pod templates, by the names of their deployments."""
    return {name: one["spec"]["template"] for (kind, name), one in objects.items() if kind == "Deployment"}


def test_the_pods_have_settings_that_exist_and_time_to_end(objects: Objects) -> None:
    pod = objects["Deployment", "gemini-key-proxy"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ((reference,),) = [source.values() for source in container["envFrom"]]
    given = {*objects["Secret", reference["name"]]["stringData"], *(one["name"] for one in container["env"])}
    assert given <= VARIABLES
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > Settings.drain_timeout + pause
    user = re.search(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert pod["securityContext"]["runAsUser"] == int(user[1])
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_probes_and_scrapes_ask_for_pages_that_there_are(objects: Objects) -> None:
    template = objects["Deployment", "gemini-key-proxy"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    asked = [container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")]
    assert asked == [{"path": path, "port": "http"} for path in ("/healthz", "/readyz")]
    assert container["ports"] == [{"name": "http", "containerPort": Settings.port}]
    notes = template["metadata"]["annotations"]
    assert (notes["prometheus.io/port"], notes["prometheus.io/path"]) == (str(Settings.port), "/metrics")


def test_services_find_their_pods_and_the_program_its_redis(objects: Objects) -> None:
    pods = pods_of(objects)
    for (kind, name), one in objects.items():
        if kind == "Deployment":
            assert one["spec"]["selector"]["matchLabels"] == pods[name]["metadata"]["labels"]
        if kind == "Service":
            pod = pods[one["spec"]["selector"]["app"]]
            ports = [port["name"] for port in pod["spec"]["containers"][0]["ports"]]
            assert [port["targetPort"] for port in one["spec"]["ports"]] == ports
    (container,) = pods["gemini-key-proxy"]["spec"]["containers"]
    (url,) = [one["value"] for one in container["env"] if one["name"] == "REDIS_URL"]
    redis = urlsplit(url)
    service = objects["Service", str(redis.hostname)]["spec"]
    assert [port["port"] for port in service["ports"]] == [redis.port] == [REDIS_PORT]
    # The commented way of prometheus.yml.
    named = re.search(r"names: \[(.+)\]", (DOCS / "prometheus.yml").read_text())
    assert named
    assert ("Service", named[1]) in objects


def test_replicas_are_spread_and_evicted_one_by_one(objects: Objects) -> None:
    deployment = objects["Deployment", "gemini-key-proxy"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    for one in spread:
        assert one["labelSelector"] == {"matchLabels": labels}
        assert one["whenUnsatisfiable"] == "ScheduleAnyway"  # on a single node, too
    budget = objects["PodDisruptionBudget", "gemini-key-proxy"]["spec"]
    assert budget["selector"] == {"matchLabels": labels}
    assert 0 < budget["maxUnavailable"] < deployment["replicas"]  # a drain can go on, and one serves


# Who may connect to whom, by the network policies.


class Connection(NamedTuple):
    """A connection of a pod: out (`egress`) or in (`ingress`), to a port of whichever accepts it.

    `peer` is the other pod's labels, or the address of a host outside the cluster.
    """

    way: str
    pod: Labels
    peer: Labels | str
    port: int
    protocol: str = "TCP"


PROXY, REDIS, OTHER = (
    {"app": "gemini-key-proxy"},
    {"app": "gemini-key-proxy-redis"},
    {"app": "something-else"},
)
GOOGLE, GOOGLE_IPV6, METADATA, PRIVATE = "142.250.74.10", "2a00:1450:4005::5f", "169.254.169.254", "10.1.2.3"
UPSTREAM_PORT = urlsplit(Settings.upstream_url).port or 443
NEEDED = [
    Connection("ingress", PROXY, OTHER, Settings.port),
    Connection("egress", PROXY, GOOGLE, UPSTREAM_PORT),
    Connection("egress", PROXY, GOOGLE_IPV6, UPSTREAM_PORT),
    Connection("egress", PROXY, PRIVATE, DNS, "UDP"),
    Connection("egress", PROXY, PRIVATE, DNS, "TCP"),
    Connection("egress", PROXY, REDIS, REDIS_PORT),
    Connection("ingress", REDIS, PROXY, REDIS_PORT),
]
REFUSED = [
    Connection("ingress", PROXY, OTHER, 22),
    Connection("egress", PROXY, GOOGLE, 80),
    Connection("egress", PROXY, METADATA, 80),
    Connection("egress", PROXY, METADATA, 443),
    Connection("egress", PROXY, PRIVATE, 443),
    Connection("egress", PROXY, "fd00::1", 443),
    Connection("egress", PROXY, OTHER, REDIS_PORT),
    Connection("ingress", REDIS, OTHER, REDIS_PORT),
    Connection("ingress", REDIS, GOOGLE, REDIS_PORT),
    Connection("egress", REDIS, GOOGLE, 443),
    Connection("egress", REDIS, PRIVATE, DNS, "UDP"),
]


def admits(objects: Objects, connection: Connection) -> bool:
    """Whether the network policies of the connection's pod admit it."""
    way, side = connection.way, "to" if connection.way == "egress" else "from"
    policies = [
        one["spec"]
        for (kind, _), one in objects.items()
        if kind == "NetworkPolicy" and one["spec"]["podSelector"]["matchLabels"] == connection.pod
    ]
    assert policies
    assert all(way.capitalize() in policy["policyTypes"] for policy in policies)
    return any(
        (connection.protocol, connection.port) in ports_of(objects, rule, connection.pod)
        and (side not in rule or any(is_peer(one, connection.peer) for one in rule[side]))
        for policy in policies
        for rule in policy[way]
    )


def ports_of(objects: Objects, rule: Any, pod: Labels) -> list[tuple[str, int]]:  # noqa: ANN401 - a document
    """The protocols and numbers of a rule's ports. A name is that of a port of the pod."""
    (container,) = pods_of(objects)[pod["app"]]["spec"]["containers"]
    numbers: dict[int | str, int] = {one["name"]: one["containerPort"] for one in container["ports"]}
    return [(one["protocol"], numbers.get(one["port"], one["port"])) for one in rule["ports"]]


def is_peer(given: Any, peer: Labels | str) -> bool:  # noqa: ANN401 - a document
    if not isinstance(peer, str):
        return "podSelector" in given and bool(given["podSelector"]["matchLabels"] == peer)
    if "ipBlock" not in given:
        return False
    address, block = ip_address(peer), given["ipBlock"]
    excepted = any(address in ip_network(one) for one in block["except"])
    return address in ip_network(block["cidr"]) and not excepted


def test_the_policies_are_about_pods_that_there_are(objects: Objects) -> None:
    labels = [template["metadata"]["labels"] for template in pods_of(objects).values()]
    policies = [one["spec"] for (kind, _), one in objects.items() if kind == "NetworkPolicy"]
    assert [policy["podSelector"]["matchLabels"] for policy in policies] == labels == [PROXY, REDIS]


@pytest.mark.parametrize("connection", NEEDED, ids=str)
def test_the_policies_admit_what_the_program_needs(objects: Objects, connection: Connection) -> None:
    assert admits(objects, connection)


@pytest.mark.parametrize("connection", REFUSED, ids=str)
def test_the_policies_refuse_everything_else(objects: Objects, connection: Connection) -> None:
    assert not admits(objects, connection)
