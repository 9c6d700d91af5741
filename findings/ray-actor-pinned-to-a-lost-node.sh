#!/usr/bin/env bash
# Ray 2.60.0: an actor that NodeAffinitySchedulingStrategy(soft=False) pins to a node which has left since the nodes were
# listed raises ActorUnschedulableError at its first call. That is no RayActorError, unlike the death of an actor, of its
# node, or of the connection, so a loop that recovers from RayActorError ends here. An actor that asks for more CPUs than
# any node has raises nothing at all: its calls wait for ever, in case such a node joins.
#
# Seen:
#   pinned to a lost node: ActorUnschedulableError, RayActorError: False
#   its process ends: ActorDiedError, RayActorError: True
#   more CPUs than there are: GetTimeoutError, RayActorError: False
# Fails if any of these changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-cache-dir ray==2.60.0
RAY_USAGE_STATS_ENABLED=0 "$folder/venv/bin/python" - > "$folder/seen" 2> "$folder/log" <<'PYTHON'
import os

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote(num_cpus=1)
class Actor:
    def end(self):
        os._exit(1)


def show(what, actor, seconds=60):
    try:
        print(f"{what}: {ray.get(actor.end.remote(), timeout=seconds)}")
    except RayError as error:
        print(f"{what}: {type(error).__name__}, RayActorError: {isinstance(error, RayActorError)}")


ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
lost = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)
show("pinned to a lost node", Actor.options(scheduling_strategy=lost).remote())
show("its process ends", Actor.remote())
show("more CPUs than there are", Actor.options(num_cpus=2).remote(), seconds=10)
PYTHON
grep RayActorError "$folder/seen"
diff <(grep RayActorError "$folder/seen") - <<'SEEN'
pinned to a lost node: ActorUnschedulableError, RayActorError: False
its process ends: ActorDiedError, RayActorError: True
more CPUs than there are: GetTimeoutError, RayActorError: False
SEEN
