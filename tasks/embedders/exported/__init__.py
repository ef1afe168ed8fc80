"""Engines that run an exported model: written once from torch, computed without torch afterwards.

loaded torch model ─ trace ─ convert → folder in the workdir ─ compile → embedder
"""
