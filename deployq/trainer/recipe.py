"""The training recipe: everything that decides a run, with its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from deployq.closed_tables import from_folder, parse_table, read_table, target_from_folder
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.settings import LayerSettings
from deployq.sources import Preprocessing
from deployq.trainer.contradictions import check_consistent
from deployq.trainer.tables import (
    AugmentationTable,
    CalibrationTable,
    DataTable,
    DistillationTable,
    NormsTable,
    NotNegative,
    OptimizerTable,
    SamTable,
    SaqTable,
    ScalesTable,
    ScheduleTable,
    Share,
    SqwaTable,
    StageTable,
)
from deployq_targets.section import Count, Section, Size

WHAT = "a recipe"
_FREE = ("device", "threads", "checkpoint_steps")
"""Keys that may differ where a run is resumed."""


class TrainingRecipe(Section):
    """A recipe of ``deployq train``; paths in its file are relative to the folder of the file."""

    model: str
    """A .pt2 or .onnx file, a prepared model's folder, or package.module:callable."""
    weights: str | None = None
    """Checkpoint for package.module:callable."""
    target: str
    """A builtin profile, or the path of a TOML profile."""
    method: Literal["qat", "saq", "sam", "sqwa"] = "qat"
    """qat, saq, sam or sqwa."""
    weight_bits: Count | None = None
    """Width of every weight; the target's first where it is left out."""
    activation_bits: Count | None = None
    """Width of every activation; the target's first where it is left out."""
    first_bits: Count | None = None
    """Width of the first layer's weights."""
    last_bits: Count | None = None
    """Width of the last layer's weights."""
    batch_size: Count = 128
    """Samples of one optimizer step, over all processes; a rest of an epoch is left out."""
    accumulate: Count = 1
    """Parts that a process cuts its share of a batch into, one after the other."""
    label_smoothing: Share = 0.0
    """Of the loss on labels."""
    clip_norm: NotNegative = 0.0
    """Highest norm of all gradients together; 0 does not clip."""
    accumulator: Literal["auto", "project", "none"] = "auto"
    """project keeps sums inside the target's accumulator; auto does where one could leave."""
    amp: Literal["none", "bfloat16"] = "none"
    """Autocast to bfloat16; quantizers compute in float32 all the same."""
    compile: bool = False
    """torch.compile of the network."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    threads: Size = 0
    """Of torch on the CPU; 0 leaves its own choice. Results depend on it in their last bits."""
    seed: Size = 0
    """Of the order of samples, augmentation, dropout and calibration samples."""
    checkpoint_steps: Size = 0
    """Also writes a checkpoint after so many steps; 0 after each epoch alone."""
    data: DataTable
    preprocessing: Preprocessing | None = None
    augmentation: AugmentationTable = Field(default_factory=AugmentationTable)
    layers: dict[str, LayerSettings] = Field(default_factory=dict)
    calibration: CalibrationTable = Field(default_factory=CalibrationTable)
    scales: ScalesTable = Field(default_factory=ScalesTable)
    norms: NormsTable = Field(default_factory=NormsTable)
    optimizer: OptimizerTable = Field(default_factory=OptimizerTable)
    schedule: ScheduleTable = Field(default_factory=ScheduleTable)
    saq: SaqTable = Field(default_factory=SaqTable)
    sam: SamTable = Field(default_factory=SamTable)
    sqwa: SqwaTable = Field(default_factory=SqwaTable)
    distillation: DistillationTable | None = None
    stages: tuple[StageTable, ...] = ()

    def widths(self, stage: StageTable | None = None) -> Recipe:
        """What a preparation is asked for, with the widths of a stage where there is one."""
        layers = {
            pattern: LayerRecipe(**rule.model_dump()) for pattern, rule in self.layers.items()
        }
        weights, activations = self.weight_bits, self.activation_bits
        if stage is not None:
            weights = stage.weight_bits or weights
            activations = stage.activation_bits or activations
        return Recipe(weights, activations, layers, self.first_bits, self.last_bits)


def read_recipe(path: Path) -> TrainingRecipe:
    """The recipe of a TOML file.

    Raises:
        InputError: a file that cannot be read, an unknown key, a value of another type or range, or
            keys that contradict each other.
    """
    recipe = parse_table(read_table(path, "recipes"), TrainingRecipe, str(path), WHAT)
    check_consistent(recipe, str(path))
    return _resolved(recipe, path.parent)


def recipe_facts(recipe: TrainingRecipe) -> dict[str, Any]:
    """What decides a run, as plain data: of paths the last part, since folders may move."""
    facts = recipe.model_dump(mode="json", exclude=set(_FREE))
    for table, keys in ((facts, ("model", "weights", "target")), (facts["data"], facts["data"])):
        for key in keys:
            if isinstance(table[key], str):
                table[key] = Path(table[key]).name
    return facts


def _resolved(recipe: TrainingRecipe, folder: Path) -> TrainingRecipe:
    """With the paths of the file from its folder."""
    own = {"model": from_folder(recipe.model, folder)}
    own["target"] = target_from_folder(recipe.target, folder)
    if recipe.weights is not None:
        own["weights"] = from_folder(recipe.weights, folder)
    paths = {key: value for key, value in recipe.data if isinstance(value, str)}
    data = {key: from_folder(value, folder) for key, value in paths.items()}
    return recipe.model_copy(update={**own, "data": recipe.data.model_copy(update=data)})
