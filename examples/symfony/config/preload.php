<?php

// For opcache.preload: PHP-FPM loads the classes of the container into memory when it starts.
if (is_file(dirname(__DIR__).'/var/cache/prod/App_KernelProdContainer.preload.php')) {
    require dirname(__DIR__).'/var/cache/prod/App_KernelProdContainer.preload.php';
}
