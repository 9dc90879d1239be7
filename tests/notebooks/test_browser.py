"""What a reader sees: each notebook in a real JupyterLab, run by Run All Cells in a real browser."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
import pytest
import pytest_asyncio
import screenshots
from conftest import BROWSER_LOG, ENDED, until
from kernel import NOTEBOOKS, ends, is_gone, is_local_stack
from PIL import Image
from screenshots import DARK, LIGHT, PICTURES, Lab, Report

ROOT = Path(__file__).resolve().parents[2]
UNCLOSED = "99_unclosed.ipynb"  # the first notebook without its teardown
COLOURS = 30  # a picture with fewer is blank, or broken
CONTRAST = 4.5  # WCAG 2.2, 1.4.3: the least contrast of text

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
in_lab = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Opened:
    """The JupyterLab that all notebooks share."""

    lab: Lab

    def kernels(self) -> list[psutil.Process]:
        """The processes of kernels, and what they started."""
        return psutil.Process(self.lab.process.pid).children(recursive=True)

    def local_stacks(self) -> list[psutil.Process]:
        return [process for process in self.kernels() if is_local_stack(process)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Opened]:
    folder = tmp_path_factory.mktemp("notebooks")
    screenshots.copy_notebooks(NOTEBOOKS, folder)
    notebook = json.loads((folder / NOTEBOOKS[0].name).read_text())
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "teardown"]
    (folder / UNCLOSED).write_text(json.dumps(notebook))

    before = set(psutil.Process().children(recursive=True))
    async with screenshots.lab(folder) as lab:
        opened = Opened(lab)
        yield opened
        started = set(psutil.Process().children(recursive=True)) - before
    assert len(started) >= 3, "JupyterLab, Playwright's driver, and Chromium"
    await ends(started)


def assert_shows_something(png: bytes) -> None:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    found = image.convert("RGB").getcolors(maxcolors=image.width * image.height)
    assert found is not None
    assert len(found) > COLOURS, "blank"


@pytest.mark.slow
@in_lab
@each_notebook
async def test_run_all_cells_leaves_what_the_notebook_promises(
    path: Path, opened: Opened, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kept = Report.of(path.stem, nbformat.read(path, as_version=4))
    async with opened.lab.opened(path.name) as notebook:
        report = await notebook.run_all()
        record_property(BROWSER_LOG, (report.name, str(report), len(report.checkpoints), len(report.plots)))
        assert report.problems == []
        assert report.cells == kept.cells
        assert len(report.checkpoints) >= 2
        assert len(report.checkpoints) == len(kept.checkpoints)
        assert report.plots == kept.plots
        pictures = await notebook.pictures()
        assert len(pictures) == len(report.plots)
        for number, png in enumerate([*pictures, *(await screenshots.for_readme(notebook)).values()]):
            (tmp_path / f"{number}.png").write_bytes(png)
            assert_shows_something(png)
        assert not opened.local_stacks(), "the teardown stops the local stack"
    await until(lambda: not opened.kernels(), "the kernel to end", ENDED)


@pytest.mark.slow
@in_lab
async def test_restart_kernel_ends_the_local_stack(opened: Opened) -> None:
    async with opened.lab.opened(UNCLOSED) as notebook:
        report = await notebook.run_all()
        assert report.problems == []
        (stack,) = opened.local_stacks()
        await notebook.restart_kernel()
        await until(lambda: is_gone(stack), "the local stack to end", ENDED)
    await until(lambda: not opened.kernels(), "the kernel to end", ENDED)


# Each text of an output with its colour, and the colours behind it, nearest first; as red, green, blue and alpha.
TEXTS = """output => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
        return [red, green, blue, alpha / 255];
    };
    const behind = element => element
        ? [rgba(getComputedStyle(element).backgroundColor), ...behind(element.parentElement)] : [];
    const found = [];
    const texts = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
        if (text && element.checkVisibility() && !element.closest('style, script'))
            found.push([text, rgba(getComputedStyle(element).color), behind(element)]);
    }
    return found;
}"""

Colour = tuple[float, float, float, float]


def over(front: Colour, back: Colour) -> Colour:
    """What is seen of a colour in front of an opaque one."""
    red, green, blue = (front[3] * one + (1 - front[3]) * other for one, other in zip(front[:3], back[:3], strict=True))
    return red, green, blue, 1.0


def luminance(colour: Colour) -> float:
    parts = [part / 255 for part in colour[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(text: Colour, backgrounds: list[Colour]) -> float:
    """WCAG's contrast ratio, from 1 to 21, of a text before these backgrounds, the nearest first."""
    ground: Colour = (255, 255, 255, 1.0)
    for background in reversed(backgrounds):
        ground = over(background, ground)
    darker, lighter = sorted([luminance(over(text, ground)), luminance(ground)])
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(
    ("text", "backgrounds", "ratio"),
    [
        ((0, 0, 0, 1), [(255, 255, 255, 1)], 21),
        ((255, 255, 255, 1), [(255, 255, 255, 1)], 1),
        ((255, 255, 255, 1), [(0, 0, 0, 0), (0, 0, 0, 1)], 21),
        ((119, 119, 119, 1), [], 4.48),
        ((0, 0, 0, 0), [(0, 0, 0, 1)], 1),
    ],
)
def test_contrast_is_wcags(text: Colour, backgrounds: list[Colour], ratio: float) -> None:
    assert contrast(text, backgrounds) == pytest.approx(ratio, abs=0.01)


def ground(image: Image.Image) -> int:
    """The commonest of a grey picture's tones, which is its background."""
    return max(enumerate(image.histogram()), key=lambda tone: tone[1])[0]


@pytest.mark.slow
@in_lab
async def test_objects_are_readable_in_the_light_and_in_the_dark(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    async with opened.lab.opened(NOTEBOOKS[0].name) as notebook:
        await notebook.run_all()
        outputs = await (await notebook.cell("setup")).query_selector_all(".jp-OutputArea-output")
        output = outputs[-1]  # before it there may be the empty place of a progress line
        for theme in (DARK, LIGHT):  # the setting is kept; light is what the next notebook begins with
            await notebook.theme(theme)
            texts = await output.evaluate(TEXTS)
            assert "Stack" in " ".join(text for text, *_ in texts)
            for text, colour, backgrounds in texts:
                assert contrast(colour, backgrounds) >= CONTRAST, f"{theme}: {text}"
            png = await output.screenshot(path=tmp_path / f"{theme}.png")
            seen[theme] = Image.open(io.BytesIO(png)).convert("L")
        monkeypatch.setattr(screenshots, "_private", lambda: {"AwsOcppGatewayStack"})
        with pytest.raises(screenshots.LabFailed, match="nobody's business"):
            await screenshots.for_readme(notebook)
    for image in seen.values():
        darkest, lightest = image.getextrema()
        assert lightest - darkest > 150, "nothing lies over the text, and it is not faded"
    assert ground(seen[LIGHT]) > 200
    assert ground(seen[DARK]) < 80


@pytest.mark.slow
@in_lab
async def test_a_wrong_token_opens_nothing(opened: Opened) -> None:
    url = f"{opened.lab.url}lab/tree/{NOTEBOOKS[0].name}"
    async with await opened.lab.browser.new_context() as context:
        for query in ("", "?token=wrong"):
            page = await context.new_page()
            await page.goto(f"{url}{query}")
            assert "/login" in page.url
            contents = await context.request.get(f"{opened.lab.url}api/contents{query}")
            assert contents.status == 403
            kernels = await context.request.post(f"{opened.lab.url}api/kernels{query}")
            assert kernels.status == 403


# -- The pictures of the README ---------------------------------------------------------------------------------------


def test_every_picture_of_the_readme_is_there_and_small() -> None:
    assert {path.stem for path in screenshots.IMAGES.iterdir()} == PICTURES.keys()
    for name, picture in PICTURES.items():
        (path,) = (path for path in NOTEBOOKS if path.stem == picture.notebook)
        assert picture.cell in {cell["id"] for cell in json.loads(path.read_text())["cells"]}
        png = (screenshots.IMAGES / f"{name}.png").read_bytes()
        assert len(png) < 60_000
        assert Image.open(io.BytesIO(png)).width <= 900
        assert_shows_something(png)


def test_readme_shows_every_picture() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(notebooks/images/(\w+)\.png\)", (ROOT / "README.md").read_text())
    assert sorted(shown) == sorted(PICTURES)
