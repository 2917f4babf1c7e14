"""The page of `mtcnn web`: what is written, and what it does in a headless Chromium.

Most tests give it a stand-in for onnxruntime-web, which finds one face in any picture. With ORT_WEB_PACKAGE, the file
that `npm pack onnxruntime-web` makes, its faces in a browser are compared with `Detector`'s: see `make web`.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Browser, browser, served
from numpy.typing import NDArray
from PIL import Image
from run_command import run
from skimage import data

from mtcnn import Detector
from mtcnn.errors import MtcnnError
from mtcnn.onnx_graph.exported import Exported
from mtcnn.web.site import FILES, write_site

pytest.importorskip("onnxruntime")

PACKAGE = os.environ.get("ORT_WEB_PACKAGE")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

STAND_IN = """
var ort = { env: { wasm: {} } };
ort.Tensor = class { constructor(kind, data, shape) { Object.assign(this, { kind, data, shape }); } };
ort.InferenceSession = { create: async (file) => ({ run: async ({ image }) => {
  const size = image.shape[0] * image.shape[1] * 3;
  if (image.kind !== "uint8" || image.data.length !== size) throw new Error("a wrong image");
  return { boxes: { data: Float32Array.of(16, 16, 48, 56) }, scores: { data: Float32Array.of(0.75) },
           landmarks: { data: Float32Array.of(24, 30, 40, 30, 32, 38, 26, 46, 38, 46) } };
} }) };
"""


def package(path: Path, **changes: bytes | None) -> Path:
    """A file like that of the npm package."""
    contents: dict[str, bytes | None] = {f"package/dist/{name}": b"" for name in FILES}
    contents["package/dist/ort.wasm.min.js"] = STAND_IN.encode()
    contents["package/package.json"] = b'{"version": "9.9.9", "license": "MIT"}'
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**contents, **changes}.items():
            if content is not None:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def quick_export(name: str, path: Path, models: Path | None, with_nms: bool) -> Exported:
    """In the place of `mtcnn.export`, which takes seconds."""
    assert with_nms == (name not in ("best", "fast", "mtcnn"))
    path.write_bytes(b"graph")
    return Exported(path, ("boxes", "scores", "landmarks"), (), 0.0, "Detector")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtcnn.web.site.export", quick_export)
        write_site(folder, ["fast", "mtcnn"], package=package(folder / "ort.tgz"))
    grey = np.full((96, 64, 3), 100, np.uint8)
    grey[20:50, 20:44] = np.random.default_rng(0).integers(0, 256, (30, 24, 3))
    Image.fromarray(grey).save(folder / "grey.png")
    Image.new("RGB", (4000, 100)).save(folder / "wide.png")
    (folder / "text.jpg").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def tab(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str]]:
    with served(page) as address, browser(tmp_path_factory.mktemp("profile")) as made:
        yield made, f"{address}/index.html"


def message(made: Browser, address: str) -> str:
    """What the page says when it has done what its address asks for."""
    made.open(address)
    made.until("!/Loading|Looking|Choose/.test(document.getElementById('message').textContent)")
    return str(made.run("document.getElementById('message').textContent"))


def test_files(page: Path) -> None:
    assert {path.name for path in (page / "runtime").iterdir()} == {*FILES, "LICENCE.txt"}
    licence = (page / "runtime" / "LICENCE.txt").read_text()
    assert licence.startswith("onnxruntime-web 9.9.9, licence MIT") and "Microsoft" in licence
    listed = json.loads((page / "detectors.json").read_text())
    assert [each["name"] for each in listed] == ["fast", "mtcnn"]
    assert all((page / each["file"]).is_file() for each in listed)
    for path in page.glob("*.*"):
        if path.suffix in (".html", ".js"):
            assert "http" not in path.read_text().replace("https: and localhost", "").replace("http.server", "")


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = package(tmp_path / "broken.tgz", **{"package/dist/ort-wasm-simd-threaded.wasm": None})
    with pytest.raises(
        MtcnnError, match=r"broken.tgz is no package of onnxruntime-web .*wasm.*; expected onnxruntime-web@"
    ):
        write_site(tmp_path / "page", package=broken)
    (tmp_path / "text.tgz").write_text("no archive")
    with pytest.raises(MtcnnError, match=r"text.tgz is no package of onnxruntime-web"):
        write_site(tmp_path / "page", package=tmp_path / "text.tgz")
    with pytest.raises(MtcnnError, match=r"text.tgz cannot be written .*; name another folder"):
        write_site(tmp_path / "text.tgz", package=broken)
    whole = package(tmp_path / "ort.tgz").read_bytes()
    (tmp_path / "half.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MtcnnError, match=r"half.tgz is no package of onnxruntime-web \(.+\); expected"):
        write_site(tmp_path / "page", package=tmp_path / "half.tgz")
    odd = package(tmp_path / "odd.tgz", **{"package/package.json": b"[]"})
    with pytest.raises(MtcnnError, match=r"odd.tgz is no package of onnxruntime-web \(.+\); expected"):
        write_site(tmp_path / "page", package=odd)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MtcnnError, match=r"no program npm, which fetches onnxruntime-web@.*; install Node.js"):
        write_site(tmp_path / "page")


def test_a_page_of_others_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtcnn.web.site.export", quick_export)
    own = tmp_path / "own"
    own.mkdir()
    (own / "index.html").write_text("my page")
    archive = package(tmp_path / "ort.tgz")
    with pytest.raises(MtcnnError, match=r"own has an index.html that is not of this page; name another folder"):
        write_site(own, ["fast"], package=archive)
    assert [path.name for path in own.iterdir()] == ["index.html"] and (own / "index.html").read_text() == "my page"
    for _ in range(2):
        write_site(tmp_path / "page", ["fast"], package=archive)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtcnn.web.site.export", quick_export)
    words = ("--detector", "fast", "--detector", "slim", "--package", package(tmp_path / "ort.tgz"))
    done = run("web", tmp_path / "page", *words)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'page' / 'index.html'}: fast, slim; ")
    assert "onnxruntime-web 9.9.9" in done.stdout
    assert "python -m http.server" in done.stderr
    assert run("web", tmp_path / "page", "--detector", "yolo").exit_code == 2


@in_a_browser
def test_a_photo_is_searched_and_drawn(tab: tuple[Browser, str]) -> None:
    made, address = tab
    assert "1 face in" in message(made, f"{address}?photo=grey.png&detector=mtcnn")
    found = json.loads(made.run("document.getElementById('result').textContent"))
    assert found["detector"] == "mtcnn" and (found["width"], found["height"]) == (64, 96)
    assert found["faces"][0]["box"] == [16, 16, 48, 56] and found["faces"][0]["landmarks"][2] == [32, 38]
    pixel = "Array.from(context.getImageData(16, 40, 1, 1).data.slice(0, 3))"
    assert made.run(pixel)[1] > 150  # the green side of the box
    made.run("byId('score').value = 0.8; byId('score').dispatchEvent(new Event('input'))")
    assert made.run(pixel) == [100, 100, 100]
    assert made.run("byId('message').textContent").startswith("0 faces in")
    assert made.run("byId('least').textContent") == "0.80"


@in_a_browser
@pytest.mark.parametrize(("box", "middle"), [((16, 16, 48, 56), (22, 9)), ((0, 2, 32, 42), (6, 9))])
def test_a_score_stands_on_a_dark_ground(
    tab: tuple[Browser, str], box: tuple[int, ...], middle: tuple[int, int]
) -> None:
    """Above its box, or in it where the picture ends; so it can be read on any photo."""
    made, address = tab
    message(made, f"{address}?photo=grey.png")
    made.run(f"faces = [{{ box: {list(box)}, score: 0.75, landmarks: [] }}]; draw()")
    left, top = middle
    values = made.run(f"Array.from(context.getImageData({left - 5}, {top - 5}, 16, 8).data)")
    pixels = np.array(values).reshape(-1, 4)[:, :3]
    assert (pixels.max(axis=1) < 60).mean() > 0.3 and (pixels[:, 1] > 90).any()


@in_a_browser
def test_hidden_faces_are_flat(tab: tuple[Browser, str]) -> None:
    made, address = tab
    message(made, f"{address}?photo=grey.png&blur=1")
    made.run("byId('boxes').checked = false; draw()")
    values = made.run("Array.from(context.getImageData(20, 20, 24, 30).data)")
    assert len(set(zip(values[::4], values[1::4], values[2::4], strict=True))) <= 16  # of 720 random pixels


@in_a_browser
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("photo=text.jpg", "text.jpg is no image that this browser can show"),
        ("photo=wide.png", "2048 × 51 pixels, shrunk from 4000 × 100"),
        ("camera=1", "No camera: "),
    ],
)
def test_clear_messages(tab: tuple[Browser, str], query: str, words: str) -> None:
    made, address = tab
    assert words in message(made, f"{address}?{query}")


@in_a_browser
def test_dropping_no_file(tab: tuple[Browser, str]) -> None:
    made, address = tab
    made.open(address)
    made.until("byId('message').textContent.startsWith('Choose')")
    made.run("byId('view').dispatchEvent(new DragEvent('drop', {dataTransfer: new DataTransfer()}))")
    made.until("byId('message').textContent.startsWith('No photo was given')")


@in_a_browser
def test_the_camera(page: Path, tmp_path: Path) -> None:
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with served(page) as address, browser(tmp_path, *fake) as made:
        assert "640 × 480 pixels" in message(made, f"{address}/index.html?camera=1")
        assert made.run("byId('camera').textContent") == "Stop the camera"
        made.run("byId('camera').click()")
        assert made.run("stream") is None


@in_a_browser
@pytest.mark.skipif(PACKAGE is None, reason="needs ORT_WEB_PACKAGE, the file of onnxruntime-web's npm package")
def test_the_same_faces_as_in_python(tmp_path: Path) -> None:
    folder, names = tmp_path / "page", ("best", "fast", "mtcnn")
    write_site(folder, names, package=Path(str(PACKAGE)))
    photo: NDArray[Any] = data.astronaut()  # type: ignore[no-untyped-call]
    Image.fromarray(photo).save(folder / "photo.png")
    with served(folder) as address, browser(tmp_path / "profile") as made:
        for name in names:
            assert "1 face in" in message(made, f"{address}/index.html?photo=photo.png&detector={name}")
            found = json.loads(made.run("byId('result').textContent"))["faces"]
            theirs = Detector(detector=name, coarse=None if name == "mtcnn" else False).detect(photo)
            np.testing.assert_allclose([face["score"] for face in found], theirs.scores, atol=1e-3)
            np.testing.assert_allclose([face["box"] for face in found], theirs.boxes, atol=0.05)
            np.testing.assert_allclose([face["landmarks"] for face in found], theirs.landmarks, atol=0.05)
