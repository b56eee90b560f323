"""Faults of background work: processes of jobs that die or sleep, and the mirror among them."""

import signal

from ops.errors import OpsError
from ops.faulting.cluster import wait_for
from ops.faulting.run import Hurt, Run

# The mirror's lease is 12 s, and what has gathered until then must be copied.
MIRRORED_S = 60.0
RUN_S = 30.0
KILLS_MEANWHILE = 3


def jobs_die_at(point: str, times: int = 4) -> Hurt:
    """Return: a process of jobs kills itself at a failpoint, and another one does its work."""

    def hurt(run: Run) -> None:
        cluster = run.cluster
        armed = cluster.jobs(f"{point}=kill@{run.chance.randint(1, times)}")
        if not cluster.await_end(armed):
            raise OpsError(f"{point} was never reached\n{armed.last_words()}")
        run.mark()
        last = last_run(run)
        heir = cluster.jobs()
        wait_for(lambda: done_since(run, last) >= 3, f"snapshots taken\n{heir.last_words()}", RUN_S)
        cluster.terminate(heir)

    return hurt


def last_run(run: Run) -> int:
    with run.cluster.look() as look:
        ((number,),) = look.execute(
            "SELECT coalesce(max(run_id), 0) FROM exchange.job_runs"
        ).fetchall()
        return int(number)


def done_since(run: Run, last: int) -> int:
    """Return of how many instruments a snapshot was taken after that run."""
    with run.cluster.look() as look:
        ((count,),) = look.execute(
            "SELECT count(DISTINCT subject) FROM exchange.job_runs"
            " WHERE job = 'snapshot' AND outcome = 'done' AND run_id > %s",
            (last,),
        ).fetchall()
        return int(count)


def mirror_dies_at(point: str, times: int = 3) -> Hurt:
    """Return: a mirror kills itself at a failpoint, and another one goes on where it was."""

    def hurt(run: Run) -> None:
        cluster = run.cluster
        kafka = cluster.new_kafka()
        armed = cluster.jobs(f"{point}=kill@{run.chance.randint(1, times)}", kafka)
        if not cluster.await_end(armed):
            raise OpsError(f"{point} was never reached\n{armed.last_words()}")
        run.mark()
        heir = cluster.jobs(kafka=kafka)
        kill_matchers(run)
        await_mirrored(run)
        cluster.terminate(heir)
        check_kafka(kafka.problems(cluster.mirrored()))

    return hurt


def two_mirrors(run: Run) -> None:
    """A mirror sleeps between Kafka and PostgreSQL, another one takes over, and it wakes up."""
    cluster = run.cluster
    kafka = cluster.new_kafka()
    point = "kafka.publish.after"
    sleeper = cluster.jobs(f"{point}=freeze@{run.chance.randint(1, 3)}", kafka)
    if not cluster.await_frozen(sleeper):
        raise OpsError(f"{point} was never reached\n{sleeper.last_words()}")
    run.mark()
    heir = cluster.jobs(kafka=kafka)
    kill_matchers(run)
    await_mirrored(run)
    sleeper.send(signal.SIGCONT)
    await_mirrored(run)
    for process in (sleeper, heir):
        cluster.terminate(process)
    check_kafka(kafka.problems(cluster.mirrored()))


def kill_matchers(run: Run) -> None:
    """While the dead mirror's lease runs out: what is to be mirrored is of several epochs."""
    for _ in range(KILLS_MEANWHILE):
        victim = run.cluster.anyone(run.chance)
        run.mark()
        run.cluster.kill(victim)
        run.cluster.complete()
        run.load.await_recovery(RUN_S)


def await_mirrored(run: Run) -> None:
    """Wait until everything that has happened by now is mirrored."""
    cluster = run.cluster
    now = cluster.sequences()

    def done() -> bool:
        mirrored = cluster.mirrored()
        return all(mirrored.get(name, 0) >= sequence for name, sequence in now.items())

    wait_for(done, f"mirrored up to {now}", MIRRORED_S)


def check_kafka(problems: list[str]) -> None:
    if problems:
        raise OpsError(f"I7 in Kafka: {'; '.join(problems[:5])}")
