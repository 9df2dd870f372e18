#!/usr/bin/env bash
# PaiNN on 200 frames of rMD17 ethanol with SiLU and with TAAFS, then deployment and molecular dynamics with SchNetPack's own commands.
set -euo pipefail
cd "$(dirname "$0")"
epochs=${EPOCHS:-50} steps=${STEPS:-2000}
export OMP_NUM_THREADS=1
# Lightning 2.6 reads checkpoints with weights_only=True, and SchNetPack 2.2.0 keeps whole models in them
export TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1

python prepare.py
rm -rf runs md
common=(experiment=rmd17 data.molecule=ethanol data.split_id=0 data.num_train=200 data.num_val=50 data.num_test=500 data.num_workers=0
        +data.val_batch_size=50 model.representation.n_atom_basis=32 globals.lr=2e-3 trainer.accelerator=cpu
        trainer.max_epochs="$epochs" print_config=False +seed=1)
spktrain "${common[@]}" run.id=stock
spktrain "${common[@]}" run.id=taafs +taafs=chebyshev1
spkdeploy runs/taafs/best_model deployed.pt
spkmd --config-dir=. --config-name=md calculator.model_file=runs/taafs/best_model system.molecule_file=start.xyz \
      dynamics.n_steps="$steps"
python plot.py
