"""`shop`: customers, products and orders, as a support desk works with them. Money is in whole cents.

    env_args: {"products": {"mug": {"price": 900, "stock": 3}}, "customers": {"ana": {"balance": 5000}},
               "orders": [{"customer": "ana", "product": "mug", "quantity": 1, "status": "paid"}]}

Orders are numbered from 1 in the order of the list; a new one takes the next number.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_env.tools import ToolError, tool
from rlvr_verifiers.types import Task

MAX_QUANTITY = 1_000


class Shop:
    """A shop's database."""

    in_process = True  # every tool is a few steps on small dictionaries

    def reset(self, task: Task) -> None:
        given = copy.deepcopy(dict(task.env_args))
        self.products: dict[str, dict[str, int]] = given.get("products", {})
        self.customers: dict[str, dict[str, int]] = given.get("customers", {})
        self.orders: list[dict[str, Any]] = given.get("orders", [])
        fit = (
            all(type(item.get(key)) is int for item in self.products.values() for key in ("price", "stock"))
            and all(type(item.get("balance")) is int for item in self.customers.values())
            and all(order.keys() == {"customer", "product", "quantity", "status"} for order in self.orders)
            and all(order["customer"] in self.customers and order["product"] in self.products for order in self.orders)
        )
        if not fit:
            raise VerifierError(
                "environment shop: env_args do not hold products, customers and orders as its documentation says"
            )

    @tool
    def find_products(self, text: str = "") -> list[dict[str, Any]]:
        """Lists products with price in cents and stock.

        Args:
            text: only products whose name holds this; all where it is empty.
        """
        return [{"product": name, **item} for name, item in sorted(self.products.items()) if text.lower() in name.lower()]

    @tool
    def get_customer(self, customer: str) -> dict[str, Any]:
        """Returns a customer's balance in cents and the numbers of the customer's orders.

        Args:
            customer: the customer's name.
        """
        orders = [number for number, order in enumerate(self.orders, 1) if order["customer"] == customer]
        return {"customer": customer, "balance": self._customer(customer)["balance"], "orders": orders}

    @tool
    def get_order(self, order: int) -> dict[str, Any]:
        """Returns an order with its total in cents.

        Args:
            order: number of the order.
        """
        found = self._order(order)
        return {"order": order, **found, "total": self._total(found)}

    @tool
    def place_order(self, customer: str, product: str, quantity: int) -> dict[str, Any]:
        """Orders a product and pays for it from the customer's balance. Returns the order.

        Args:
            customer: the customer's name.
            product: name of the product.
            quantity: number of pieces, 1 or more.
        """
        account, item = self._customer(customer), self._product(product)
        if not 1 <= quantity <= MAX_QUANTITY:
            raise ToolError(f"quantity has to be 1 to {MAX_QUANTITY}")
        if item["stock"] < quantity:
            raise ToolError(f"only {item['stock']} of {product} are in stock")
        if account["balance"] < quantity * item["price"]:
            raise ToolError(f"{customer} has {account['balance']} cents, and {quantity * item['price']} are needed")
        account["balance"] -= quantity * item["price"]
        item["stock"] -= quantity
        self.orders.append({"customer": customer, "product": product, "quantity": quantity, "status": "paid"})
        return self.get_order(len(self.orders))

    @tool
    def cancel_order(self, order: int) -> str:
        """Cancels a paid order: the money goes back to the customer, the pieces to the stock.

        Args:
            order: number of the order.
        """
        found = self._order(order)
        if found["status"] != "paid":
            raise ToolError(f"order {order} is {found['status']}")
        self.customers[found["customer"]]["balance"] += self._total(found)
        self.products[found["product"]]["stock"] += found["quantity"]
        found["status"] = "cancelled"
        return f"order {order} is cancelled"

    @tool
    def set_status(self, order: int, status: Literal["shipped", "delivered"]) -> str:
        """Notes that a paid order was shipped, or that a shipped one was delivered.

        Args:
            order: number of the order.
            status: the new status.
        """
        found = self._order(order)
        before = {"shipped": "paid", "delivered": "shipped"}[status]
        if found["status"] != before:
            raise ToolError(f"order {order} is {found['status']}, not {before}")
        found["status"] = status
        return f"order {order} is {status}"

    @tool
    def add_balance(self, customer: str, cents: int) -> str:
        """Adds money to a customer's balance.

        Args:
            customer: the customer's name.
            cents: what is added, 1 or more.
        """
        if not 1 <= cents <= 10**9:
            raise ToolError("cents has to be 1 or more, and less than 10 million euros")
        self._customer(customer)["balance"] += cents
        return f"{customer} has {self.customers[customer]['balance']} cents"

    @tool
    def restock(self, product: str, quantity: int) -> str:
        """Adds pieces of a product to the stock.

        Args:
            product: name of the product.
            quantity: number of pieces, 1 or more.
        """
        if not 1 <= quantity <= MAX_QUANTITY:
            raise ToolError(f"quantity has to be 1 to {MAX_QUANTITY}")
        self._product(product)["stock"] += quantity
        return f"{self.products[product]['stock']} of {product} are in stock"

    def _customer(self, name: str) -> dict[str, int]:
        if name not in self.customers:
            raise ToolError(f"there is no customer {name[:40]!r}")
        return self.customers[name]

    def _product(self, name: str) -> dict[str, int]:
        if name not in self.products:
            raise ToolError(f"there is no product {name[:40]!r}; find_products lists them")
        return self.products[name]

    def _order(self, number: int) -> dict[str, Any]:
        if not 1 <= number <= len(self.orders):
            raise ToolError(f"there is no order {number}")
        return self.orders[number - 1]

    def _total(self, order: dict[str, Any]) -> int:
        return order["quantity"] * self.products[order["product"]]["price"]
