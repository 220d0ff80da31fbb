<?php

declare(strict_types=1);

/* PHP's built-in server in the place of PHP-FPM: params come in a header, the front controller is the real one. */
foreach (json_decode($_SERVER['HTTP_X_PARAMS'] ?? '{}', true) as $name => $value) {
    if (null === $value) {
        unset($_SERVER[$name]);
    } else {
        $_SERVER[$name] = $value;
    }
}
require getenv('FERVO_TEST_SCRIPT');
