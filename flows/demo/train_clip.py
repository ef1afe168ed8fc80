"""Trains the small CLIP of the demo: pictures of `flows.demo.scenes` and their captions.

    render 24,000 scenes → ModifiedResNet × two-layer text transformer → contrastive loss → fp16

Run `python -m flows.demo.train_clip [FOLDER]`: some ten CPU-minutes, nothing downloaded. A
tenth of all combinations (`held_out`) is never shown in training; the recall printed at the end
is measured on those alone. `FOLDER` is what open_clip loads as `local-dir:FOLDER`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional

from flows.demo.scenes import (
    COLOURS,
    MODEL_FOLDER,
    SHAPES,
    VOCABULARY,
    Scene,
    random_scene,
    render,
)

SEED = 20261
SCENES = 24_000
EPOCHS = 8
BATCH = 128
LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.05
IMAGE_SIZE = 64
CONTEXT = 16
"""Tokens: the longest caption has 12 words and its end."""
PARTIAL_SHARE = 0.5
"""Captions that leave out sizes, background or a thing, so that "a red heart" is a query too."""
HELD_OUT_SHARE = 10
"""One combination of so many is kept from training."""

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)

SYNONYMS = {"an": "a", "large": "big", "gray": "grey", "center": "centre", "middle": "centre"}
"""Words that people type, and the word of the vocabulary that they mean."""

PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"

MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 1, 1, 1], "width": 24},
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": len(VOCABULARY) + 3,
        "hf_tokenizer_name": "scene_clip",  # any name: `local-dir:` reads the folder itself
        "width": 96,
        "heads": 4,
        "layers": 2,
    },
}
PREPROCESS = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}


def held_out(scene: Scene) -> bool:
    """Whether this combination of colours, shapes and places is kept from training."""
    told = min(scene.caption(False, False), scene.turned().caption(False, False))
    return hashlib.blake2b(told.encode(), digest_size=4).digest()[0] % HELD_OUT_SHARE == 0


def write_settings(folder: Path) -> None:
    """The configuration, and a word-level tokenizer as the files that `transformers` loads.

    The end token has the highest number: open_clip takes the text's vector at the largest token.
    """
    words = [PAD, UNKNOWN, *VOCABULARY, END]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    replaced = [normalizers.Replace(Regex(rf"\b{a}\b"), b) for a, b in SYNONYMS.items()]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *replaced])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, vocabulary[END])]
    )
    tokenizer.add_special_tokens([PAD, UNKNOWN, END])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "eos_token": END,
        "padding_side": "right",
    }
    _write_json(folder / "tokenizer_config.json", settings)
    model = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    _write_json(folder / "open_clip_config.json", model)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def draw_set(
    count: int, rng: np.random.Generator, unseen: bool, distinct: bool = False
) -> tuple[np.ndarray, list[Scene]]:
    """Draw `count` scenes, held out or not; with `distinct` no two with the same caption.

    Returns uint8 `(count, 64, 64, 3)`, resized as the model's preprocessing does, and the scenes.
    """
    from PIL import Image

    pictures = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    scenes: list[Scene] = []
    told: set[str] = set()
    while len(scenes) < count:
        scene = random_scene(rng)
        if held_out(scene) is not unseen:
            continue
        captions = {scene.caption(), scene.turned().caption()}
        if distinct and captions & told:
            continue
        told |= captions
        small = render(scene, rng).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
        pictures[len(scenes)] = np.asarray(small)
        scenes.append(scene)
    return pictures, scenes


def true_captions(scene: Scene) -> tuple[list[str], list[str]]:
    """All that can truly be said of a scene: whole captions, and ones that leave something out."""
    told = (scene, scene.turned()) if scene.second else (scene,)
    whole = [one.caption() for one in told]
    partial = [one.caption(*left) for one in told for left in _LEAVING_OUT]
    for thing in scene.things:
        for size in (True, False):
            partial += [thing.words(size), f"{thing.words(size)} on {scene.background}"]
    return whole, partial


_LEAVING_OUT = ((False, True), (True, False), (False, False))  # size, background


@dataclass(frozen=True)
class Told:
    """A training scene in words."""

    whole: list[str]
    partial: list[str]
    true: frozenset[str]

    @classmethod
    def of(cls, scene: Scene) -> Told:
        """Everything that is true of `scene`."""
        whole, partial = true_captions(scene)
        return cls(whole, partial, frozenset(whole + partial))

    def caption(self, rng: np.random.Generator) -> str:
        """One of them; `PARTIAL_SHARE` of the time one that leaves something out."""
        among = self.partial if rng.random() < PARTIAL_SHARE else self.whole
        return among[int(rng.integers(len(among)))]


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """uint8 `(n, 64, 64, 3)` → normalised float32 `(n, 3, 64, 64)`."""
    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)
    return scaled.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])


def batches(count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The numbers below `count`, shuffled, in full batches."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH + 1, BATCH):
        yield order[start : start + BATCH]


def train(folder: Path, epochs: int = EPOCHS, count: int = SCENES) -> open_clip.CLIP:
    """Train on `count` scenes for `epochs` rounds with the symmetric contrastive loss of CLIP."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    pictures, scenes = draw_set(count, rng, unseen=False)
    told = [Told.of(scene) for scene in scenes]
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model = open_clip.CLIP(**MODEL).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=LEARNING_RATE,
    )
    steps = epochs * (count // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    for epoch in range(epochs):
        started, losses = time.process_time(), []
        for chosen in batches(count, rng):
            captions = [told[i].caption(rng) for i in chosen]
            true = torch.tensor([[c in told[i].true for i in chosen] for c in captions]).float()
            loss = contrastive_loss(model, to_input(pictures[chosen]), tokenizer(captions), true)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=np.log(100))  # as CLIP does: no runaway scale
            losses.append(loss.item())
        spent = time.process_time() - started
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}, {spent:.0f} CPU-seconds")
    return model.eval()


def contrastive_loss(
    model: open_clip.CLIP, pictures: torch.Tensor, texts: torch.Tensor, true: torch.Tensor
) -> torch.Tensor:
    """The loss of CLIP, both ways, where more than one picture can fit a text.

    `true` is float32 `(texts, pictures)`, 1 where the text holds: "a red heart" is true of every
    picture with one, and CLIP's own loss would teach that it is false of all but one.
    """
    images = model.encode_image(pictures, normalize=True)
    words = model.encode_text(texts, normalize=True)
    logits = model.logit_scale.exp() * words @ images.T
    to_images = functional.cross_entropy(logits, true / true.sum(dim=1, keepdim=True))
    to_words = functional.cross_entropy(logits.T, (true / true.sum(dim=0)).T)
    return (to_images + to_words) / 2


def save(model: open_clip.CLIP, folder: Path) -> None:
    """Write the weights in fp16, half their size; loading casts them back to fp32."""
    halves = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
        if name != "attn_mask"
    }
    save_file(halves, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


@dataclass(frozen=True)
class Measured:
    """Held-out pictures and texts, embedded by a saved model as a user's program would."""

    scenes: list[Scene]
    images: torch.Tensor  # float32 (n, 128), unit length
    model: open_clip.CLIP
    tokenizer: open_clip.tokenizer.HFTokenizer

    @torch.no_grad()
    def scores(self, texts: list[str]) -> torch.Tensor:
        """Cosine of each text with each picture: float32 `(texts, pictures)`."""
        return self.model.encode_text(self.tokenizer(texts), normalize=True) @ self.images.T

    def recall(self) -> float:
        """Text → picture R@1: each whole caption finds its own picture first."""
        found = self.scores([scene.caption() for scene in self.scenes]).argmax(dim=1)
        return float((found == torch.arange(len(self.scenes))).float().mean())

    def precision(self, k: int = 5) -> float:
        """Share of the `k` best pictures for "a red heart" that show one, over all such queries."""
        asked = [(colour, shape) for colour in COLOURS for shape in SHAPES]
        best = self.scores([f"a {colour} {shape}" for colour, shape in asked]).topk(k).indices
        right = [
            any((thing.colour, thing.shape) == query for thing in self.scenes[i].things)
            for query, row in zip(asked, best.tolist(), strict=True)
            for i in row
        ]
        return sum(right) / len(right)


@torch.no_grad()
def measure(folder: Path, count: int, seed: int = 7) -> Measured:
    """Load the model in `folder` and embed `count` held-out scenes with distinct captions."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    pictures, scenes = draw_set(count, np.random.default_rng(seed), unseen=True, distinct=True)
    images = model.eval().encode_image(to_input(pictures), normalize=True)
    return Measured(scenes, images, model, tokenizer)


def main() -> None:
    """Train, save, and print what the saved model can do."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", nargs="?", type=Path, default=MODEL_FOLDER)
    arguments.add_argument("--measure", action="store_true", help="only measure a trained model")
    arguments.add_argument("--epochs", type=int, default=EPOCHS)
    arguments.add_argument("--threads", type=int, default=2, help="cores that train")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    if not chosen.measure:
        write_settings(chosen.folder)
        model = train(chosen.folder, chosen.epochs)
        save(model, chosen.folder)
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters → {chosen.folder}")
    hundred, thousand = measure(chosen.folder, 100), measure(chosen.folder, 1000)
    print(f"held-out combinations, caption → picture, R@1 of 100: {hundred.recall():.3f}")
    print(f"held-out combinations, caption → picture, R@1 of 1000: {thousand.recall():.3f}")
    print(f'"a red heart" and the like among those 1000, P@5: {thousand.precision():.3f}')
    print(f"CPU-seconds in all: {time.process_time():.0f}", file=sys.stderr)


if __name__ == "__main__":
    main()
