<?php

// For opcache.preload: what the container needs at every job is in memory when PHP-FPM has started.
if (is_file(dirname(__DIR__).'/var/cache/prod/App_KernelProdContainer.preload.php')) {
    require dirname(__DIR__).'/var/cache/prod/App_KernelProdContainer.preload.php';
}
