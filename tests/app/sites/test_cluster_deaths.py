"""What errors of Ray mean, told by their names and texts: none of these tests needs Ray."""

from ossctl.app.sites.cluster.deaths import Death, death_of, last_line


class RayError(Exception):
    pass


class RayActorError(RayError):
    actor_init_failed = False


class ActorDiedError(RayActorError):
    pass


class ActorUnavailableError(RayActorError):
    pass


class ActorUnschedulableError(RayError):  # as in Ray 2.60
    pass


class RayTaskError(RayError):
    pass


def test_a_process_that_was_killed_may_be_started_again() -> None:
    error = ActorDiedError(
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
    )
    assert death_of(error) == Death("its process died")


def test_a_node_that_has_left_is_not_tried_again() -> None:
    gone = Death("it left the cluster", final=True)
    assert death_of(ActorDiedError("The actor died because its node has died. Node Id: 1")) == gone
    assert death_of(ActorUnschedulableError("The actor is not schedulable: …")) == gone


def test_no_line_is_suspected_when_the_connection_is_lost() -> None:
    assert death_of(ActorUnavailableError("Socket closed")) == Death("the connection was lost", innocent=True)


def test_an_actor_that_cannot_be_made_is_left_out_with_the_error_itself() -> None:
    error = ActorDiedError(
        "\x1b[36mray::A()\x1b[39m (pid=1)\n  File x\nModuleNotFoundError: No module named 'ossctl'\n"
    )
    error.actor_init_failed = True
    assert death_of(error) == Death(
        "it could not start: ModuleNotFoundError: No module named 'ossctl'", final=True
    )


def test_a_bug_in_an_actor_is_its_own_error() -> None:
    assert death_of(RayTaskError("ray::x()\nValueError: no")) == Death("ValueError: no", final=True)


def test_the_error_of_a_traceback_is_its_last_line() -> None:
    assert last_line("a\n\x1b[31m b \x1b[0m\n\n") == "b"
    assert last_line("") == ""
