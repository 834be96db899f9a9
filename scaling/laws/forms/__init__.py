"""Functional forms: what a law is as a function, declared, without a fit."""
