#!/usr/bin/env bash
# Copper from input.json to LAMMPS by the stock commands. Needs an environment with taafs-plugins[deepmd] (make env) on the PATH.
set -euo pipefail
cd "$(dirname "$0")"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
[ -d ../../.venv ] && export PATH="$(cd ../../.venv/bin && pwd):$PATH"

python prepare.py                                   # writes data/train, data/test and frame.data
for name in tanh taafs; do
    mkdir -p "$name"
    (cd "$name" && dp --pt train "../input_$name.json" --skip-neighbor-stat && dp --pt freeze -o model.pth)
    (cd "$name" && find ../data/test -mindepth 1 -maxdepth 1 -type d | sort > systems.txt && dp --pt test -m model.pth -f systems.txt 2>&1 | tee test.log)
done
lmp -in in.lmp                                      # NVE with taafs/model.pth
taafs plot taafs/model.ckpt-3000.pt -o curves.png --overwrite
echo "tanh:  $(grep 'weighted average' -A 20 tanh/test.log | grep 'Force  RMSE' | tail -1 | sed 's/.*RMSE/force RMSE/')"
echo "TAAFS: $(grep 'weighted average' -A 20 taafs/test.log | grep 'Force  RMSE' | tail -1 | sed 's/.*RMSE/force RMSE/')"
