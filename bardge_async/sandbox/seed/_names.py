"""Names and places of the seed data."""

from __future__ import annotations

from typing import Final

FIRST_NAMES: Final = [
    "Adaeze",
    "Babatunde",
    "Chinwe",
    "Damilola",
    "Emeka",
    "Funmilayo",
    "Garba",
    "Halima",
    "Ifeoma",
    "Jide",
    "Kemi",
    "Ladi",
    "Musa",
    "Ngozi",
    "Obinna",
    "Patience",
    "Rukayat",
    "Segun",
    "Temitope",
    "Uche",
    "Yetunde",
    "Zainab",
]
LAST_NAMES: Final = [
    "Okafor",
    "Adeyemi",
    "Balogun",
    "Chukwu",
    "Danjuma",
    "Eze",
    "Fashola",
    "Gbadamosi",
    "Ibrahim",
    "Johnson",
    "Kalu",
    "Lawal",
    "Mohammed",
    "Nwosu",
    "Ogunleye",
    "Popoola",
    "Sani",
    "Tinubu",
    "Umeh",
    "Yusuf",
]
RESELLERS: Final = (
    ("eko_benefits", "Eko Employee Benefits"),
    ("zuma_bank", "Zuma Bank"),
    ("kainji_health", "Kainji Health Insurance"),
)
ISSUERS: Final = [
    "Abeokuta Mutual",
    "Benue Care",
    "Calabar Health",
    "Delta Wellness",
    "Enugu Benefits",
    "Gombe Trust",
    "Ibadan Staff Fund",
    "Jos Plateau Bank",
    "Kaduna Cover",
    "Lokoja Savings",
    "Minna Mutual",
    "Nsukka Alumni",
    "Owerri Health",
    "Port Harcourt Energy",
    "Sokoto Trust",
    "Uyo Benefits",
    "Warri Marine",
    "Yola Care",
    "Zaria Scholars",
]
CITIES: Final = (
    (
        "Lagos",
        6.4541,
        3.4216,
        ["Victoria Island", "Lekki Phase 1", "Ikeja GRA", "Yaba", "Surulere", "Ikoyi", "Ajah", "Maryland"],
    ),
    ("Abuja", 9.0579, 7.4951, ["Wuse 2", "Maitama", "Garki", "Asokoro", "Gwarinpa", "Jabi", "Utako", "Central Area"]),
)
STREETS: Final = [
    "Adeola Odeku Street",
    "Admiralty Way",
    "Aminu Kano Crescent",
    "Allen Avenue",
    "Ademola Adetokunbo Crescent",
]
GYM_WORDS: Final = ["Ironclad", "Eagle", "Pulse", "Summit", "Titan", "Harmattan", "Baobab", "Lion"]
SPA_WORDS: Final = ["Oasis", "Ori", "Serene", "Shea", "Lagoon", "Hibiscus", "Moringa", "Palm"]
SERVICES: Final = (
    ("Deep Tissue Massage", 60),
    ("Aromatherapy", 45),
    ("Facial Treatment", 50),
    ("Hot Stone Massage", 75),
)
CLASSES: Final = (
    ("Yoga", "Mind and body"),
    ("Pilates", "Mind and body"),
    ("Spinning", "Cardio"),
    ("Aerobics", "Cardio"),
    ("Afrobeats Dance", "Dance"),
    ("Boxing", "Combat"),
    ("HIIT", "Strength"),
    ("Kettlebells", "Strength"),
)
CATEGORIES: Final = ("Mind and body", "Cardio", "Dance", "Combat", "Strength")
