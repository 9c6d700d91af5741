"""Heartbeats of workers: who answers which questions."""

import socket
import time
from threading import Thread

from ossctl.app.worker.offers import offers_of
from ossctl.runtime.devices import BackendDevice, DeviceKind, as_offered
from ossctl.runtime.host import ram
from ossctl.runtime.pulse import WHATEVER_IS_FREE, Address, answer, ask


def free_address() -> Address:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", int(probe.getsockname()[1])


def answering(*offers: int) -> Address:
    address = free_address()
    Thread(target=answer, args=(address, lambda: offers), daemon=True).start()
    while ask(address, 0.1) is None:
        time.sleep(0.01)
    return address


def test_a_worker_answers_with_the_memory_of_each_device() -> None:
    assert ask(answering(5, (1 << 64) - 1), 1) == (5, (1 << 64) - 1)


def test_nobody_answers_at_once_that_there_is_nobody() -> None:
    assert ask(free_address(), 5) is None


def test_a_worker_answers_no_other_questions() -> None:
    address = answering(5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.05)
        client.connect(address)
        for question in (b"", b"ossctl", b"x" * 2000):
            client.send(question)
            try:
                assert not client.recv(100)
            except TimeoutError:
                continue
    assert ask(address, 1) == (5,)


def test_what_another_program_answers_counts_for_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def echo() -> None:
            server.sendto(*server.recvfrom(2000))

        Thread(target=echo, daemon=True).start()
        assert ask(server.getsockname(), 1) is None


def device(address: str, backend: str = "RPC", kind: DeviceKind = DeviceKind.GPU) -> BackendDevice:
    return BackendDevice("D", backend, address, kind, free=100, total=100)


def test_devices_have_no_more_memory_than_their_workers_offer() -> None:
    here, silent = "{}:{}".format(*answering(60, WHATEVER_IS_FREE, 200)), "{}:{}".format(*free_address())
    given = [device(here), device("CPU", "CPU"), device(silent), device(here), device(here), device(here)]
    found = [*as_offered(given)]
    assert [each.free for each in found] == [60, 100, 100, 100, 100, 100]
    assert [each.is_ram for each in found] == [True, False, False, False, True, False]


def test_a_worker_offers_the_ram_that_is_available_and_what_its_gpus_report() -> None:
    cpu, gpu = offers_of([device("", "CPU", DeviceKind.CPU), device("", "CUDA")])
    assert 0 <= cpu < 0.96 * ram().total
    assert gpu == WHATEVER_IS_FREE
