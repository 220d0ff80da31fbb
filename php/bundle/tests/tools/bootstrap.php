<?php

declare(strict_types=1);

// The functions of Symfony's configuration in PHP, such as service(), are in this class's file.
class_exists(Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator::class);
