"""What an import and an export did."""

from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class FieldCounts:
    """What became of the vectors of a field."""

    imported: int = 0
    """Stored by this run."""
    there_before: int = 0
    """In the store already."""
    not_listed: int = 0
    """Left out, since the key list does not have their keys."""
    unknown_captions: int = 0
    """Imported vectors whose caption is not known."""


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    store: str
    num_files: int = 0
    num_blocks: int = 0
    """Blocks committed by this run."""
    fields: dict[str, FieldCounts] = field(default_factory=dict)
    not_found: int | None = None
    """Keys of the key list that no file has; None without a list."""
    note: str | None = None
    """What a person should know of the fields."""
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{name}: " + ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in asdict(counts).items() if n)
            for name, counts in self.fields.items()
        ]
        imported = sum(counts.imported for counts in self.fields.values())
        lines.append(
            f"{imported} vectors imported from {self.num_files} file(s) into {self.store} in {self.seconds:.1f} s"
        )
        lines += [f"{self.not_found} keys of the key list are in none of the files"] * bool(self.not_found)
        lines += [f"note: {self.note}"] * bool(self.note)
        return "\n".join(lines)


@dataclass(slots=True)
class ExportReport:
    """What an export did."""

    output: str
    num_files: int = 0
    """Files written by this run."""
    num_files_before: int = 0
    """Files that an earlier run of the same export had finished."""
    num_vectors: int = 0
    """Vectors in the files of this run."""
    left_out: int = 0
    """Samples left out, since a field has no vector for them."""
    seconds: float = 0.0

    def __str__(self) -> str:
        before = f", {self.num_files_before} were there already" if self.num_files_before else ""
        left_out = f"; {self.left_out} samples without vectors were left out" if self.left_out else ""
        return (
            f"{self.num_vectors} vectors exported in {self.num_files} file(s) to {self.output} in {self.seconds:.1f} s"
            f"{before}{left_out}"
        )
