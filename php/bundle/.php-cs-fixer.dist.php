<?php

declare(strict_types=1);

/*
 * Symfony's rules, with nothing taken out. Run by tests/check.
 */
return (new PhpCsFixer\Config())
    ->setRules(['@Symfony' => true])
    ->setFinder((new PhpCsFixer\Finder())->in(__DIR__)->exclude('vendor')->append([__FILE__]));
