"""Training: plan (corpus, machine, budget -> sizes), then truncated BPTT.

`start` and `resume` yield events; nothing here prints, draws or generates text.

    setup     what is decided before the first step        run       writes the run's folder
    trainer   the loop: validations, best weights          state     what a checkpoint holds
    bptt      updates                                      record    what the files say
"""
