from django.contrib import admin
from django.urls import path

from shop import views

urlpatterns = [
    path("", views.index),
    path("healthz", views.healthz),
    path("order", views.order),
    path("admin/", admin.site.urls),
]
