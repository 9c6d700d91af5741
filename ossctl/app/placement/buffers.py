"""Bytes of llama.cpp's buffers, summed by the device of a plan."""

from collections.abc import Mapping, Sequence

from ossctl.planning.memory import DeviceUse

RAM = "RAM"
_PURPOSES = {"model": 0, "KV": 1, "RS": 1, "compute": 2, "output": 2}  # as llama.cpp's log has them


def reported_by_device(
    devices: Sequence[str], buffers: Mapping[tuple[str, str], int]
) -> dict[str, DeviceUse]:
    """Sum `buffers`, bytes by the buffer's name and its purpose in llama.cpp's log."""
    amounts: dict[str, list[int]] = {}
    for (buffer, purpose), n_bytes in buffers.items():
        amounts.setdefault(buffer, [0, 0, 0])[_PURPOSES[purpose]] += n_bytes
    return by_device(devices, amounts)


def by_device(devices: Sequence[str], buffers: Mapping[str, Sequence[int]]) -> dict[str, DeviceUse]:
    """Sum `buffers`, bytes of weights, cache and compute by the buffer's name, by device and as `RAM`."""
    found = {name: DeviceUse() for name in (*devices, RAM)}
    for buffer, (weights, kv, compute) in buffers.items():
        home = _home(buffer, devices)
        use = found[home]
        found[home] = DeviceUse(use.weights + weights, use.kv + kv, use.compute + compute)
    return found


def _home(buffer: str, devices: Sequence[str]) -> str:
    """The device of a buffer such as `CUDA0` or `RPC0[…]`; RAM for `CPU_Mapped` and `CUDA_Host`."""
    return next((name for name in devices if buffer == name or buffer.startswith(f"{name}[")), RAM)
