"""Consent: the decision whether events may be sent, its sources, the notice, and the anonymous id."""
