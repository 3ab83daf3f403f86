"""Training: plan (corpus, machine, budget -> sizes), then truncated BPTT.

`start` and `resume` yield events; nothing here prints, draws or generates text.

    plan            the sizes            setup            what is decided before the first step
    measured_plan   for this machine     timing           the same work, timed several times
    trainer         the loop             training_step    loss, gradient, clipping, update
    stream_batches  what a step reads    batches          the values that the two exchange
    best_weights    the best so far      divergence       losses worse than a guess's
    learning_rate   the schedule         budget           steps or minutes
    run             first to last step   control          how the caller controls it
    run_writer      the run's files      checkpoint_schedule    when to save a checkpoint
    state           what that holds      conclusion       the score and the result at the end
    distributed     several processes    launch           starts them on this machine
"""
