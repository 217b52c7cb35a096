#!/usr/bin/env bash
# One run on two hosts that share a network and nothing else; one host is killed in the middle.
#
#     sudo bash examples/distributed/two_hosts.sh .venv/bin
#
# Linux makes the hosts out of this machine: each has its own network address, host name and
# temporary file system. An undisturbed run is followed by one whose second host loses its process
# to SIGKILL, and which then goes on, though that host has no checkpoint. The weights must be equal
# to the last bit. Needs root, iproute2 and util-linux.
set -euo pipefail

bin=$(realpath "${1:-.venv/bin}")
place=$(mktemp -d)
export OMP_NUM_THREADS=1

clean_up() {
    for i in 1 2; do
        kill "$(cat "$place/pid$i")" 2>/dev/null || true
        ip netns del "nodepert$i" 2>/dev/null || true
    done
    rm -rf "$place"
}
trap clean_up EXIT

printf '127.0.0.1 localhost\n10.9.0.1 host1\n10.9.0.2 host2\n' > "$place/hosts"
for i in 1 2; do
    ip netns add "nodepert$i"
    ip -n "nodepert$i" link set lo up
done
ip link add eth1 netns nodepert1 type veth peer name eth2 netns nodepert2
for i in 1 2; do
    ip -n "nodepert$i" addr add "10.9.0.$i/24" dev "eth$i"
    ip -n "nodepert$i" link set "eth$i" up
    mkdir -p "$place/disk$i"
    # A host is a process that waits, with the namespaces that commands enter.
    ip netns exec "nodepert$i" unshare --uts --mount bash -c "
        hostname host$i
        mount --bind '$place/hosts' /etc/hosts
        mount -t tmpfs none '$place/disk$i'
        echo \$\$ > '$place/pid$i'
        exec sleep infinity" &
done
until [[ -s $place/pid1 && -s $place/pid2 ]]; do sleep 0.1; done

on() { # on HOST COMMAND...
    local host=$1
    shift
    nsenter --target "$(cat "$place/pid$host")" --net --uts --mount \
        bash -c "cd '$place/disk$host' && exec \"\$@\"" _ "$@"
}

on_both() { # torchrun's arguments
    for i in 1 2; do
        on "$i" "$bin/torchrun" --nnodes 2 --node-rank $((i - 1)) --master-addr host1 \
            --no-python "$bin/nodepert" train "$@" > "$place/log$i" 2>&1 &
        pids[i]=$!
    done
}

finish() {
    for i in 1 2; do
        wait "${pids[i]}" || { cat "$place/log$i"; exit 1; }
    done
}

settings="MNIST-v0 --steps 30000 --seed 3"
declare -a pids
on_both $settings --out undisturbed
finish
cat "$place/log1"

on_both $settings --out killed
until [[ $(on 1 bash -c 'ls killed/checkpoints/*.zip 2>/dev/null | wc -l') -ge 3 ]]; do sleep 0.1; done
pkill -KILL -P "$(pgrep -P "${pids[2]}")" # what torchrun on host 2 has started
wait "${pids[1]}" "${pids[2]}" || true
echo "killed: host 1 has $(on 1 bash -c 'ls killed/checkpoints/*.zip | tail -n 1'), host 2 has '$(on 2 ls)'"

on_both --resume killed
finish
cat "$place/log1"
on 1 "$bin/python" - <<'EOF'
import torch
from nodepert.agents import NodePerturbation

first, second = (NodePerturbation.load(f"{run}/model.zip") for run in ("undisturbed", "killed"))
pairs = zip(first.policy.state_dict().items(), second.policy.state_dict().values(), strict=True)
different = [name for (name, one), other in pairs if not torch.equal(one, other)]
print("different weights:", different or "none")
raise SystemExit(bool(different))
EOF
