<?php

declare(strict_types=1);

/*
 * Symfony's rules, with nothing taken out. Run by tests/check, over php/runner, too.
 */
return (new PhpCsFixer\Config())
    ->setRules(['@Symfony' => true])
    ->setFinder((new PhpCsFixer\Finder())->in([__DIR__, dirname(__DIR__).'/runner'])->exclude('vendor')->append([__FILE__]));
