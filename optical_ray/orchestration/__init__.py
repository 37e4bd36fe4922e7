"""The only folder that imports Ray: where and how many, never what.

    session     which cluster, started or joined; are there enough CPUs and GPUs?
    data_job    independent tasks as a Ray Data job
    train       one distillation on two or more workers: Ray Train V2, fed by Ray Data
    planned     a sweep's trials before they run
    study       a search part's Optuna study on disk
    search      which trials are still to run: what Ray Tune asks
    tune        a sweep: Ray Tune runs `run_trial` in reused actors
    actor       what one of Tune's actors does for one trial
    progress    how far a sweep is, for whoever draws it
    health      can the cluster run a sweep? What nodes reported, judged
    doctor      asks the nodes: a process pinned to each
    probe       what such a process looks at
    trackers    Weights & Biases and MLflow, which are extras

Only plain data crosses to Ray: recipes as JSON, rows, paths. A result never depends on which process computed it.
"""
