"""The in-car page (MDT): sign-on, alerts, silence and acknowledge."""
