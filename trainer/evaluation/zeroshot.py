"""Class prompts for zero-shot classification: a file that users edit, prompts that are embedded through the store."""

import torch
from torch import nn

from store.sources.shards import caption_at
from trainer.data.join import Join
from trainer.data.samples import ShardSamples
from trainer.evaluation.features import caption_features
from trainer.evaluation.metrics import accuracy, class_ranks, classifier, nearer_to_true, pairs_matched
from trainer.evaluation.sets.class_names import Classes, label_positions
from trainer.evaluation.sets.contrasts import Contrasts


def class_vectors(classes: Classes, join: Join, adapter: nn.Module | None, set_name: str = "") -> torch.Tensor:
    """Class vectors by prompt ensembling, (N, E), from the stored prompts of :meth:`Classes.prompts`.

    Raises:
        MissingKeysError: a prompt has no vector in the join's field.
    """
    prompts = list(classes.prompts(set_name))
    features = caption_features(join, [key for _, key, _ in prompts], adapter)[0]
    rows: dict[str, list[int]] = {name: [] for name in classes.names}
    for i, (label, *_) in enumerate(prompts):
        rows[label].append(i)
    return classifier({name: features[places] for name, places in rows.items()})


def sample_labels(classes: Classes, samples: ShardSamples) -> torch.Tensor:
    """Class positions (I,) of samples, from their json. Raises: ConfigError: a label is none of the classes."""
    labels = ((caption_at(samples.json(i), classes.label), samples.where(i)) for i in range(len(samples)))
    return label_positions(classes, labels)


def zero_shot(
    classes: Classes, join: Join, adapter: nn.Module | None, samples: ShardSamples, image_IE: torch.Tensor
) -> dict[str, float]:
    """Top-1, top-5 and mean-per-class accuracy of the samples' labels; see ``metrics.accuracy``.

    Raises:
        MissingKeysError: a prompt has no vector in the join's field.
        ConfigError: a sample's label is none of the classes.
    """
    label_I = sample_labels(classes, samples)
    ranks = class_ranks(image_IE, class_vectors(classes, join, adapter), label_I)
    return accuracy(ranks, label_I) | {"num_classes": len(classes.names)}


def right_answers(contrasts: Contrasts, image_IE: torch.Tensor, text_TE: torch.Tensor) -> dict[str, torch.Tensor]:
    """Whether each question of each kind is answered right: kind -> (Q,) bool, in the order of the questions.

    Of two texts of one image the true one is to be closer; of two images each is to be the closer one to its text.
    """
    found = {}
    for kind, questions in contrasts.by_kind().items():
        image_QNE = image_IE[torch.tensor([question.images for question in questions])]
        text_Q2E = text_TE[torch.tensor([question.texts for question in questions])]
        if image_QNE.shape[1] == 2:
            found[kind] = pairs_matched(image_QNE, text_Q2E)
        else:
            found[kind] = nearer_to_true(image_QNE[:, 0], text_Q2E[:, 0], text_Q2E[:, 1])
    return found
