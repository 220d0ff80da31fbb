<?php

return [
    Symfony\Bundle\FrameworkBundle\FrameworkBundle::class => ['all' => true],
    Fervo\DeferredEventBundle\FervoDeferredEventBundle::class => ['all' => true],
];
