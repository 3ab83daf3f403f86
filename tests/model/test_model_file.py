import json
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import strict_json
from conftest import covering
from damage import flips, truncations

from charrnn.cells import CELLS
from charrnn.config import Form, ModelConfig, ModelReading, Reading, to_json
from charrnn.counts import build
from charrnn.errors import ModelError, RunError
from charrnn.generator import Generator
from charrnn.model import model_file, parameters
from charrnn.model.model_file import MODEL_NAME, Model
from charrnn.storage import tensors
from charrnn.text.tokenizer import CharTokenizer
from charrnn.text.tokenizer.sentencepiece import train_pieces

MakeModel = Callable[..., Model]


@pytest.fixture
def path(tmp_path: Path, tiny_model: Model) -> Path:
    """A valid model file."""
    file = tmp_path / MODEL_NAME
    model_file.save(file, tiny_model)
    return file


def _refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        model_file.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def _header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = strict_json.loads(data[8 : 8 + length])
    return header


def _rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the header of a file, but not its tensors."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = _header(path)
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


def _described(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change charrnn's own part of the header."""

    def outer(header: dict[str, Any]) -> None:
        inner = strict_json.loads(header["__metadata__"]["charrnn"])
        change(inner)
        header["__metadata__"]["charrnn"] = json.dumps(inner)

    return _rewritten(path, outer)


@pytest.mark.parametrize(("cell", "form"), covering(sorted(CELLS)), indirect=["form"])
@pytest.mark.parametrize("embedding_size", [0, 3])
def test_a_saved_model_is_loaded_unchanged(
    tmp_path: Path, make_model: MakeModel, cell: str, embedding_size: int, form: dict[str, Any]
) -> None:
    layers = 1 if cell == "jordan" else 2
    model = make_model(
        "aé\n😀", cell=cell, num_layers=layers, embedding_size=embedding_size, **form
    )
    model_file.save(tmp_path / "m", model)
    loaded = model_file.load(tmp_path / "m")
    assert (loaded.config, loaded.tokenizer) == (model.config, model.tokenizer)
    assert loaded.training == {"steps": 3}
    assert loaded.values.keys() == model.values.keys()
    for name, value in model.values.items():
        assert loaded.values[name].dtype == np.float32
        assert loaded.values[name].shape == value.shape
        assert loaded.values[name].tobytes() == value.tobytes()


def test_a_file_from_before_network_forms_loads_as_the_plain_form(
    path: Path, tiny_model: Model
) -> None:
    def as_it_was(described: dict[str, Any]) -> None:
        for name, neutral in to_json(Form()).items():
            assert described["config"].pop(name) == neutral
        del described["sha256"]

    old = model_file.load(_described(path, as_it_was))
    assert old.config == tiny_model.config
    one, other = (
        Generator(model).sample("he", length=50, seed=1).text for model in (old, tiny_model)
    )
    assert one == other


def test_the_form_is_stored_and_a_file_without_it_is_refused(
    tmp_path: Path, make_model: MakeModel
) -> None:
    path = tmp_path / MODEL_NAME
    model_file.save(path, make_model(learned_start=True, zoneout=0.25))
    config = strict_json.loads(_header(path)["__metadata__"]["charrnn"])["config"]
    assert (config["learned_start"], config["zoneout"]) == (True, 0.25)
    _described(path, lambda described: described["config"].pop("learned_start"))
    assert "tensors are not those of its config" in _refused(path)


def test_a_model_knows_how_its_text_was_read(path: Path, tiny_model: Model) -> None:
    assert model_file.load(path).reading == ModelReading()
    reading = ModelReading(encoding="cp1252", newline="lf", document_separator="\n")
    model_file.save(path, replace(tiny_model, training={"reading": to_json(reading)}))
    assert model_file.load(path).reading == reading
    assert reading.options() == Reading(encoding="cp1252", newline="lf")  # one long text
    apart = replace(reading, documents_apart=True)
    assert (reading.separator, apart.separator) == ("", "\n")
    given = {"newline": "keep", "exclude": "*.md"}
    expected = Reading(encoding="cp1252", document_separator="\n", exclude="*.md")
    assert apart.options(given) == expected


def test_older_models_tell_whether_documents_were_apart(path: Path, tiny_model: Model) -> None:
    training = {"train": {"reset_at_documents": True}}
    model_file.save(path, replace(tiny_model, training=training))
    reading = model_file.load(path).reading
    assert reading == ModelReading(documents_apart=True)
    assert reading.separator == ""


@pytest.mark.parametrize("reading", [{"newline": "x"}, {"separator": "x"}, {"encoding": 3}])
def test_an_invalid_reading_is_refused(path: Path, reading: dict[str, Any]) -> None:
    _described(path, lambda described: described["training"].update(reading=reading))
    assert "is damaged" in _refused(path)


def test_equal_models_give_equal_bytes(tmp_path: Path, tiny_model: Model) -> None:
    backwards = dict(reversed(tiny_model.values.items()))
    training = {"b": 1, "a": {"d": None, "c": 2.5}}
    same = {"a": {"c": 2.5, "d": None}, "b": 1}
    for name, values, trained in (("1", tiny_model.values, training), ("2", backwards, same)):
        made = Model(tiny_model.config, tiny_model.tokenizer, values, trained)
        model_file.save(tmp_path / name, made)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_saving_what_was_loaded_gives_the_same_bytes(path: Path) -> None:
    before = path.read_bytes()
    model_file.save(path, model_file.load(path))
    assert path.read_bytes() == before


def test_non_contiguous_arrays_are_saved_correctly(tmp_path: Path, tiny_model: Model) -> None:
    turned = {name: np.asfortranarray(value) for name, value in tiny_model.values.items()}
    model_file.save(tmp_path / "m", Model(tiny_model.config, tiny_model.tokenizer, turned))
    loaded = model_file.load(tmp_path / "m").values
    for name, value in tiny_model.values.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_other_tools_can_read_the_tensors(path: Path, tiny_model: Model) -> None:
    values = safetensors.numpy.load_file(path)
    assert values.keys() == tiny_model.values.keys()
    assert set(_header(path)["__metadata__"]) == {"charrnn"}


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_the_file_has_the_permissions_of_any_new_file(path: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_nothing_else_is_left_beside_the_file(path: Path) -> None:
    assert [file.name for file in path.parent.iterdir()] == [MODEL_NAME]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    path: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = path.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[call], full)
    with pytest.raises(RunError, match=f"{MODEL_NAME} could not be written: No space left"):
        model_file.save(path, tiny_model)
    assert [file.name for file in path.parent.iterdir()] == [MODEL_NAME]
    assert path.read_bytes() == before


def test_an_interrupted_write_leaves_nothing(
    path: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model_file.save(path, tiny_model)
    assert [file.name for file in path.parent.iterdir()] == [MODEL_NAME]


def test_a_file_is_flushed_before_it_is_renamed(
    path: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (calls.append("replace"), replace(a, b))[1])
    model_file.save(path, tiny_model)
    assert calls[:2] == ["fsync", "replace"]
    assert os.name != "posix" or calls == ["fsync", "replace", "fsync"]  # then the folder


def test_a_missing_folder_is_reported_in_one_sentence(tmp_path: Path, tiny_model: Model) -> None:
    with pytest.raises(RunError, match="could not be written: No such file"):
        model_file.save(tmp_path / "gone" / MODEL_NAME, tiny_model)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "does not exist: train one with 'charrnn train'" in _refused(tmp_path / "none")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in _refused(tmp_path)


@pytest.mark.parametrize("kind", ["char", "pairs", "sentencepiece"])
def test_a_file_that_is_cut_off_or_has_a_flipped_bit_anywhere_is_refused(
    kind: str,
    tmp_path: Path,
    make_model: MakeModel,
    make_pair_model: MakeModel,
    times: Callable[[int, int], int],
    report_trials: Callable[[str, int], None],
) -> None:
    sizes = {"hidden_size": 2, "embedding_size": 1, "num_layers": 1}
    made = (make_pair_model if kind == "pairs" else make_model)("a", **sizes)
    if kind == "sentencepiece":
        pieces = train_pieces([b"ab ab\n" * 40], 240, "char", 300)
        config = replace(made.config, vocab_size=pieces.vocab_size)
        made = Model(config, pieces, parameters.initial(config, 1), made.training)
    path = tmp_path / MODEL_NAME
    model_file.save(path, made)
    data = path.read_bytes()
    every = {"char": 1, "pairs": 5, "sentencepiece": 11}[kind]  # bytes; their files are larger
    every *= times(7, 1)
    for damage in (truncations, flips):
        for content in islice(damage(data), 0, None, every):
            path.write_bytes(content)
            _refused(path)
    report_trials(f"a model ({kind}) cut off, or a bit flipped", 2 * len(data) // every)


@pytest.mark.parametrize("tail", [b"\x00", b"more" * 100])
def test_a_file_with_trailing_bytes_is_refused(path: Path, tail: bytes) -> None:
    path.write_bytes(path.read_bytes() + tail)
    assert "is damaged" in _refused(path)


@pytest.mark.parametrize(
    ("magic", "what"),
    [
        (b"PK\x03\x04", "zip archive, as PyTorch's torch.save"),
        (b"\x80\x02", "pickle"),
        (b"\x80\x03", "pickle"),
        (b"\x80\x04", "pickle"),
        (b"\x80\x05", "pickle"),
        (b"GGUF", "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
@pytest.mark.parametrize("length", [0, 100])
def test_the_error_says_what_a_foreign_file_is(
    tmp_path: Path, magic: bytes, what: str, length: int
) -> None:
    path = tmp_path / "model"
    path.write_bytes(magic + bytes(length))
    assert what in _refused(path)


@pytest.mark.parametrize("content", [b"just a text, not a model\n" * 9, bytes(64), b"\xff" * 64])
def test_arbitrary_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model"
    path.write_bytes(content)
    assert "is not a charrnn model" in _refused(path) or "is damaged" in _refused(path)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_model_whose_header_length_looks_like_a_pickle_is_a_model(
    tmp_path: Path, make_model: MakeModel, length: int
) -> None:
    """The file begins with its header's length: 0x480 is the bytes 80 04, as in a pickle."""
    path = tmp_path / "model"
    model = make_model("ab", embedding_size=0)
    wanted, filling = 2**16 + length, 2**16
    for _ in range(2):  # the header is padded to a multiple of eight bytes
        training = {"note": "x" * filling}
        model_file.save(path, Model(model.config, model.tokenizer, model.values, training))
        (reached,) = struct.unpack("<Q", path.read_bytes()[:8])
        filling += wanted - reached
    assert reached == wanted
    assert model_file.load(path).training == training


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    bomb = b"cos\nsystem\n(S'touch " + str(tmp_path / "boom").encode() + b"'\ntR."
    for start in (b"", b"\x80\x04"):
        path = tmp_path / "model"
        path.write_bytes(start + bomb)
        _refused(path)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("lie", [0, 1, 7, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_wrong_header_length_is_refused(path: Path, lie: int) -> None:
    path.write_bytes(struct.pack("<Q", lie) + path.read_bytes()[8:])
    _refused(path)


def test_a_huge_header_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_MAX_HEADER", 100)
    assert "is not a charrnn model" in _refused(path)


@pytest.mark.parametrize(
    "header", [b"[]", b"3", b"{}", b"{", b"\xff\xfe", b"[" * 100_000, b'{"__metadata__": 3}']
)
def test_a_header_of_the_wrong_type_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    _refused(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, path, {"format": "pt"})
    assert "that charrnn did not write" in _refused(path)


@pytest.mark.parametrize("garbage", ["", "{", "null", "3", "[]", "[" * 100_000, "{}"])
def test_an_unreadable_header_is_refused(path: Path, garbage: str) -> None:
    _rewritten(path, lambda header: header["__metadata__"].update(charrnn=garbage))
    assert "is damaged: its header is not readable" in _refused(path)


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ('"format": 1', '"format": 7, "format": 1', "format"),
        ('"hidden_size": 5', '"hidden_size": 65536, "hidden_size": 5', "hidden_size"),
        ('"tokenizer": {', '"tokenizer": {"symbols": "ab", ', "symbols"),
        ('"training": {', '"training": {"steps": 9, ', "steps"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(path: Path, old: str, new: str, name: str) -> None:
    """Readers differ in which of the two they take."""

    def twice(header: dict[str, Any]) -> None:
        described = json.dumps(strict_json.loads(header["__metadata__"]["charrnn"]))
        assert old in described
        header["__metadata__"]["charrnn"] = described.replace(old, new)

    assert f"its header is not readable ('{name}' is there twice)" in _refused(
        _rewritten(path, twice)
    )


def test_a_tensor_that_is_described_twice_is_refused(path: Path) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(_header(path))
    again = json.dumps(_header(path)["output.bias"])
    text = f'{header[:-1]}, "output.bias": {again}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    assert "'output.bias' is there twice" in _refused(path)


@pytest.mark.parametrize("depth", [*range(900, 1000, 10), 100_000])
def test_nested_json_is_read_or_refused(path: Path, depth: int) -> None:
    """A depth that can be read may be too large to be written again, for the hash."""
    nested = "[" * depth + "]" * depth

    def nest(header: dict[str, Any]) -> None:
        described = header["__metadata__"]["charrnn"]
        changed = described.replace('"training": {', f'"training": {{"x": {nested}, ')
        header["__metadata__"]["charrnn"] = changed

    _refused(_rewritten(path, nest))


@pytest.mark.parametrize("size", ["num_layers", "hidden_size", "embedding_size", "vocab_size"])
@pytest.mark.parametrize("asked", [65_536, 2**31, 10**400, 1e308, float("nan")])
def test_no_memory_is_allocated_for_an_architecture_that_is_only_claimed(
    path: Path, size: str, asked: float
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = _refused(_described(path, lambda d: d["config"].update({size: asked})))
    assert "is damaged" in message
    assert len(message) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # 128 MiB in KiB


@pytest.mark.parametrize("key", ["format", "config", "tokenizer", "training"])
@pytest.mark.parametrize("value", [None, "x", [1], "missing"])
def test_a_header_with_an_invalid_field_is_refused(path: Path, key: str, value: object) -> None:
    def change(described: dict[str, Any]) -> None:
        if value == "missing":
            del described[key]
        else:
            described[key] = value

    assert "is damaged" in _refused(_described(path, change))


def test_a_newer_format_asks_for_an_upgrade(path: Path) -> None:
    newer = model_file.ENSEMBLE_FORMAT + 1
    _described(path, lambda described: described.update(format=newer, config={"new": 1}))
    assert f"has format {newer}, this charrnn reads up to {newer - 1}: upgrade" in _refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"cell": "transformer"},
        {"hidden_size": 0},
        {"hidden_size": 10**9},
        {"hidden_size": 5.0},
        {"hidden_size": "5"},
        {"num_layers": -1},
        {"surprise": 1},
        {"cell": "jordan"},  # of two layers
        {"layer_norm": 1},
        {"input_depth": 0},
        {"zoneout": 1.0},
    ],
)
def test_an_invalid_config_is_refused(path: Path, change: dict[str, Any]) -> None:
    assert "is damaged" in _refused(_described(path, lambda d: d["config"].update(change)))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 6},
        {"hidden_size": 2**16},
        {"num_layers": 1},
        {"num_layers": 3},
        {"embedding_size": 0},
        {"cell": "elman"},
        {"cell": "gru-reset-after"},
        {"skip_connections": True},
        {"output_depth": 2},
        {"tied_output": True},
        {"recurrent_depth": 2},
        {"layer_norm": True},
        {"learned_start": True},
    ],
)
def test_tensors_of_another_architecture_are_refused(path: Path, change: dict[str, Any]) -> None:
    message = _refused(_described(path, lambda d: d["config"].update(change)))
    assert "tensors are not those of its config" in message or "does not have the shape" in message


def test_a_vocabulary_that_does_not_fit_the_output_layer_is_refused(path: Path) -> None:
    _described(path, lambda d: d["tokenizer"].update(symbols="abc"))
    assert "vocabulary and output layer differ" in _refused(path)


def test_an_unsorted_vocabulary_is_refused(path: Path) -> None:
    _described(path, lambda d: d["tokenizer"].update(symbols=d["tokenizer"]["symbols"][::-1]))
    assert "symbols are not sorted" in _refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [7, 1]},
        {"shape": [7.0]},
        {"shape": []},
        {"shape": None},
        {"shape": [8]},
        {"dtype": "F16"},
        {"dtype": "I32"},
        {"dtype": None},
        {"data_offsets": [0, 4]},
        {"data_offsets": [0, 2**60]},
        {"data_offsets": [-4, 24]},
        {"data_offsets": None},
    ],
)
def test_a_tensor_with_a_wrong_description_is_refused(path: Path, change: dict[str, Any]) -> None:
    def lie(header: dict[str, Any]) -> None:
        header["output.bias"].update(change)

    assert "is damaged" in _refused(_rewritten(path, lie))


@pytest.mark.parametrize("entry", [3, None, [], {}])
def test_a_tensor_without_a_description_is_refused(path: Path, entry: object) -> None:
    assert "is damaged" in _refused(_rewritten(path, lambda h: h.update({"output.bias": entry})))


def test_missing_and_additional_tensors_are_refused(path: Path) -> None:
    data = path.read_bytes()
    assert "embedding" in _refused(_rewritten(path, lambda header: header.pop("embedding")))
    path.write_bytes(data)
    extra = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    assert "extra" in _refused(_rewritten(path, lambda header: header.update(extra=extra)))


def test_a_new_process_writes_the_same_and_does_not_load_torch(
    path: Path, tiny_model: Model
) -> None:
    script = (
        "import sys, charrnn\n"
        f"model = charrnn.load({str(path)!r})\n"
        "text = model.sample('hello', length=200, temperature=0.9, seed=7).text\n"
        "text += model.greedy('hello', length=50).text\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
        "sys.stdout.buffer.write(text.encode())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    here = Generator(tiny_model)
    text = here.sample("hello", length=200, temperature=0.9, seed=7).text
    assert done.stdout.decode() == text + here.greedy("hello", length=50).text


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_non_finite_weights_are_refused(
    odd: float, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    model = make_model()
    path = tmp_path / MODEL_NAME
    model_file.save(path, model)
    _described(path, lambda described: described.pop("sha256"))
    data = path.read_bytes()
    value = model.values["output.bias"].tobytes()
    assert data.count(value) == 1
    path.write_bytes(data.replace(value, value[:4] + np.float32(odd).tobytes() + value[8:]))
    assert "NaN or infinite" in _refused(path)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_non_finite_weights_do_not_overwrite_a_good_file(
    odd: float, path: Path, tiny_model: Model
) -> None:
    before = path.read_bytes()
    tiny_model.values["output.bias"][1] = odd  # type: ignore[index]
    with pytest.raises(RunError, match="not written: some weights are NaN or infinite"):
        model_file.save(path, tiny_model)
    assert path.read_bytes() == before


def test_any_flipped_bit_in_the_names_of_a_header_is_refused(path: Path) -> None:
    data = path.read_bytes()
    places: set[int] = set()
    for word in (b"sha256", b"format", b"charrnn", b"hidden_size"):
        places |= set(range(data.index(word), data.index(word) + len(word)))
    for place in sorted(places):
        for bit in range(8):
            turned = bytearray(data)
            turned[place] ^= 1 << bit
            path.write_bytes(turned)
            _refused(path)


def test_a_model_without_a_hash_is_loaded(path: Path, tiny_model: Model) -> None:
    old = model_file.load(_described(path, lambda described: described.pop("sha256")))
    assert (old.config, old.training) == (tiny_model.config, tiny_model.training)


def test_unknown_header_fields_are_refused(path: Path) -> None:
    assert "unknown fields" in _refused(_described(path, lambda d: d.update(surprise=1)))


def test_a_too_large_model_is_refused_before_it_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "MAX_PARAMETERS", 100)
    assert "the maximum is 100" in _refused(path)


def test_a_pair_model_has_one_token_more_than_its_alphabet(tmp_path: Path) -> None:
    config = ModelConfig(4, "lstm", 2, 6, encoder="bidirectional", context="attention")
    made = Model(config, CharTokenizer("abc"), parameters.initial(config, seed=1))
    file = tmp_path / MODEL_NAME
    model_file.save(file, made)
    assert model_file.load(file).config == config
    model_file.save(file, replace(made, tokenizer=CharTokenizer("abcd")))
    assert "vocabulary and output layer differ" in _refused(file)


@pytest.mark.parametrize(("kind", "close"), [(1, 1e-7), (model_file.INT8_FORMAT, 0.02)])
def test_an_ensemble_that_was_stored_as_one_network_is_read(
    make_pair_model: MakeModel, tmp_path: Path, kind: int, close: float
) -> None:
    sizes = {"ensemble": 2, "hidden_size": 8, "embedding_size": 4}
    made = replace(make_pair_model("abcd", context="fixed", **sizes), format=kind)
    dense, values = parameters.joined(made.config, made.values)
    old = tmp_path / "old.safetensors"
    model_file.save(old, replace(made, config=dense, values=values))

    def voting(described: dict[str, Any]) -> None:
        del described["sha256"]
        described["config"]["ensemble"] = 2

    found = model_file.load(_described(old, voting))
    assert (found.config, found.format) == (made.config, kind)
    assert found.values.keys() == made.values.keys()
    for name, value in found.values.items():
        wanted = values["output.bias"] if name.endswith("output.bias") else made.values[name]
        np.testing.assert_allclose(value, wanted, rtol=0, atol=close * np.abs(wanted).max())
    model_file.save(old, found)  # now by its networks
    again = model_file.load(old)
    assert again.values.keys() == made.values.keys()
    assert again.format == 4  # which older versions refuse by its number
    _rewritten(old, lambda header: header.pop("1.embedding"))
    assert "its tensors are not those of its config (['1.embedding'])" in _refused(old)


@pytest.mark.parametrize(
    ("encoder", "reading"),
    [
        (True, {}),
        (True, {"document_separator": "a", "documents_apart": True}),
        (True, {"pairs": True, "fill": True}),
        (False, {"pairs": True}),
        (False, {"fill": True}),
    ],
)
def test_a_network_that_does_not_go_with_the_reading_is_refused(
    encoder: bool, reading: Any, make_model: MakeModel, make_pair_model: MakeModel, tmp_path: Path
) -> None:
    made = (make_pair_model if encoder else make_model)()
    file = tmp_path / MODEL_NAME
    model_file.save(file, replace(made, training={"reading": reading}))
    assert "its network does not go with how its text was read" in _refused(file)


@pytest.fixture
def counted(tmp_path: Path, tiny_model: Model) -> tuple[Path, Model]:
    """A model file with counts."""
    ids = np.arange(4000) % 7 % tiny_model.config.vocab_size
    table = build.build(ids, tiny_model.config.vocab_size, 10**5)
    table.weights[:] = 0.25
    path, made = tmp_path / "counted.safetensors", replace(tiny_model, counts=table)
    model_file.save(path, made)
    return path, made


def test_counts_come_back_as_they_were(counted: tuple[Path, Model]) -> None:
    path, made = counted
    loaded = model_file.load(path)
    assert loaded.format == model_file.COUNTS_FORMAT
    assert loaded.counts
    assert made.counts
    for name, array in made.counts.arrays().items():
        found = loaded.counts.arrays()[name]
        assert found.dtype == array.dtype
        assert (found == array).all()
    model_file.save(path.with_name("again"), loaded)
    assert path.with_name("again").read_bytes() == path.read_bytes()
    # Without them it is a model file as before.
    model_file.save(path.with_name("plain"), replace(loaded, counts=None))
    assert model_file.load(path.with_name("plain")).format == model_file.FORMAT_VERSION


def test_an_ensemble_may_have_counts(
    counted: tuple[Path, Model], tiny_ensemble: Model, tmp_path: Path
) -> None:
    for counts in (counted[1].counts, None):
        made = replace(tiny_ensemble, counts=counts)
        model_file.save(tmp_path / "m", made)
        loaded = model_file.load(tmp_path / "m")
        assert loaded.format == model_file.ENSEMBLE_FORMAT
        assert (loaded.counts is None) == (counts is None)
        assert loaded.values.keys() == made.values.keys()
        for name, value in made.values.items():
            np.testing.assert_array_equal(loaded.values[name], value)
        model_file.save(tmp_path / "again", loaded)
        assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_older_versions_refuse_counts_by_their_format(counted: tuple[Path, Model]) -> None:
    described = strict_json.loads(_header(counted[0])["__metadata__"]["charrnn"])
    assert described["format"] == 3 > model_file.INT8_FORMAT
    assert described["counts"].keys() == {"order", "bits", "contexts", "entries"}


@pytest.mark.parametrize(
    "sizes",
    [
        None,
        {},
        {"order": 10, "bits": 3, "contexts": 5},
        {"order": 11, "bits": 3, "contexts": 5, "entries": 5},
        {"order": 10, "bits": 62, "contexts": 5, "entries": 5},
        {"order": 10, "bits": 3, "contexts": -5, "entries": 5},
        {"order": 10, "bits": 3, "contexts": 2**31, "entries": 2**31},
        {"order": True, "bits": 3, "contexts": 5, "entries": 5},
    ],
)
def test_wrong_sizes_of_counts_are_refused(counted: tuple[Path, Model], sizes: object) -> None:
    path, _ = counted

    def change(header: dict[str, Any]) -> None:
        described = strict_json.loads(header["__metadata__"]["charrnn"])
        described["counts"] = sizes
        header["__metadata__"]["charrnn"] = json.dumps(described)

    assert "damaged" in _refused(_rewritten(path, change))


def test_damaged_counts_are_refused(counted: tuple[Path, Model]) -> None:
    path, _ = counted
    data = path.read_bytes()
    for damaged in islice(truncations(data), 0, None, 97):
        path.write_bytes(damaged)
        _refused(path)
    position = len(data) - 40  # in a tensor
    path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    assert "SHA-256" in _refused(path)
