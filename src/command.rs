//! Everything a user can do, as values: menus, shortcuts, the key sheet and tests are fed from here.
