"""Training: plan (corpus, machine, budget -> sizes), then truncated BPTT.

`start` and `resume` yield events; nothing here prints, draws or generates text.

    plan            the sizes            setup            what is decided before the first step
    trainer         the loop             training_step    loss, gradient, clipping, update
    learning_rate   the schedule         budget           steps or minutes
    run             writes the folder, decides when a checkpoint is due
    checkpoints     their files          state            what they hold
"""
