/* The documents that one begins with; the demo's names are in them (`mercato up --demo`). */

const register = `# Make an account in the store named above.
# Then sign in with it, on the right of that.
mutation Register {
  register(input: {
    email: "user@example.com"
    password: "password123"
    firstName: "John"
    lastName: "Doe"
  }) {
    token
    user { id email fullName }
  }
}
`;

const order = `# Sign in first (above, on the right).
# A productId is an id or a SKU. A unitPrice
# is only compared with the catalogue's.
mutation PlaceOrder {
  createOrder(input: {
    shippingAddress: "123 Main St"
    notes: "careful"
    items: [{
      productId: "prod-1"
      productName: "Brass desk lamp"
      quantity: 1
      unitPrice: 87.00
    }]
  }) {
    id
    status
    totalAmount
    items { productName quantity unitPrice }
  }
}
`;

const orders = `# One's own orders;
# for the staff of a store, all of them.
query Orders {
  orders(limit: 10) {
    data {
      id
      status
      totalAmount
      user { id email fullName }
      payment { id status amount }
    }
    pageInfo { total hasMore }
  }
}
`;

const me = `query Me {
  me {
    id
    email
    firstName
    lastName
    orders {
      id
      status
      totalAmount
      items { productName quantity }
    }
  }
}
`;

export const examples = [register, order, orders, me].map((query) => ({ query }));
